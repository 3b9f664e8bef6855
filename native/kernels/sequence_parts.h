// Long sequences over several blocks. Where a batch has few sequences, a block per sequence leaves most of a GPU idle:
// each is cut into parts of kPartTokens tokens, counted from its start or its end, a block per part. What the parts of
// a sequence have in common goes through the workspace, from one launch to the next, and is added in the order of the
// parts: no float atomics, the same bits at each run and on each GPU.
//
// The host knows no lengths. Sequence i gets the places cu_seqlens[i] / kPartTokens + i and those up to the next
// sequence's: as many as it has parts, or one more, which then is empty.
#pragma once

#include <cstdint>

namespace prl {

constexpr int kPartTokens = 1024;
constexpr int kPartRounds = 4;  // a block of 256 threads takes a part in so many
// From so many sequences on there are blocks enough; a batch of fewer tokens is done before a second launch begins.
constexpr int64_t kWholeSequences = 512;

inline bool SplitsSequences(int64_t tokens, int64_t sequences) {
  return sequences < kWholeSequences && tokens > kPartTokens;
}
// Places for the parts of all sequences; 0 where they stay whole.
inline int64_t SequenceParts(int64_t tokens, int64_t sequences) {
  return SplitsSequences(tokens, sequences) ? tokens / kPartTokens + sequences : 0;
}

}  // namespace prl
