// Sequences, and the parts of them that go through the network at once.
#pragma once

#include <cstdint>
#include <vector>

#include "model/network.h"

namespace prl {

// Sequences, packed: ids of all, offsets, and where in each the scored tokens begin (at least 1: the first token has no
// prediction; at most its length). Scored tokens of all sequences, packed, are what outputs and token-wise inputs run
// over.
struct Sequences {
  std::vector<int32_t> ids, cu_seqlens, start;
  float temperature;
  int64_t micro_batch_tokens;

  int64_t count() const { return static_cast<int64_t>(start.size()); }
  // Offsets of the scored tokens, [count + 1].
  std::vector<int32_t> ScoredOffsets() const;
};

// Some of the sequences, as the forward pass takes them: what comes before the first scored token (the prompt) is a
// sequence of its own, the prefix of what follows, and neighbours with the same prompt share it. The last token of a
// sequence predicts nothing that is asked for, and a sequence without scored tokens nothing at all: neither goes
// through the network. (With `whole` the last token does: its own hidden state is asked for.)
struct MicroBatch {
  explicit MicroBatch(bool whole_sequences = false) : whole(whole_sequences) {}

  const bool whole;
  int64_t first_sequence = 0, sequences = 0, first_scored = 0, scored = 0;
  std::vector<int32_t> targets, cu_targets;  // scored tokens; their offsets by sequence
  std::vector<int32_t> query_of_target;      // the query that predicts each: several completions may start from one
  std::vector<int32_t> query_of_token;       // with `whole`: the query that each is
  std::vector<int32_t> ids, cu_seqlens, query_begin, cu_queries, prefix;  // as in PackedBatch

  // Sequences from `first` on, until `micro_batch_tokens` go through the network; at least one. Returns the sequence
  // after the last.
  int64_t Fill(const Sequences& all, const std::vector<int32_t>& cu_scored, int64_t first);

  PackedBatch packed() const;
  ScoredTokens scored_tokens(float temperature) const {
    return {scored, targets.data(), query_of_target.data(), temperature};
  }

  // The queries of the steps that end here; `ends` among all scored tokens, rising. *first: the first of them.
  std::vector<int32_t> QueriesOfSteps(const std::vector<int32_t>& ends, int64_t* first) const;

 private:
  void Push(const int32_t* begin, const int32_t* end, int64_t first_query, int32_t before);
};

}  // namespace prl
