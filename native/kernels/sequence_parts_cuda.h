// The part of a sequence that a block has (kernels/sequence_parts.h).
#pragma once

#include "kernels/failures_cuda.h"
#include "kernels/sequence_parts.h"

namespace prl {

struct SequencePart {
  int64_t sequence;  // -1: of none, where the offsets are wrong
  Piece whole;
  int64_t number;        // among the parts of its sequence
  int64_t place, count;  // of its sequence's first part; how many places it has
  // The tokens of part number `number` from the start, or from the end.
  __device__ Piece FromStart() const {
    const int64_t begin = whole.begin + number * kPartTokens;
    return {min(begin, whole.end), min(begin + kPartTokens, whole.end)};
  }
  __device__ Piece FromEnd() const {
    const int64_t end = whole.end - number * kPartTokens;
    return {max(end - kPartTokens, whole.begin), max(end, whole.begin)};
  }
};

__device__ inline int64_t FirstPlace(const int32_t* offsets, int64_t i) { return offsets[i] / kPartTokens + i; }

// The part at place blockIdx.x. All threads call; `found` is shared memory. Every offset is looked at: wrong ones are
// reported, and their sequences have no parts.
__device__ inline SequencePart PartOf(const int32_t* offsets, int64_t sequences, int64_t tokens, CudaReport* report,
                                      int* found) {
  const int64_t place = blockIdx.x;
  if (threadIdx.x == 0) *found = -1;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < sequences; i += blockDim.x) {
    if (!IsPiece(offsets, i, sequences, tokens)) {
      if (place == 0) ReportFailure(report, Failure::kOffsets, i, (unsigned)offsets[i + 1]);
    } else if (FirstPlace(offsets, i) <= place && place < FirstPlace(offsets, i + 1)) {
      *found = (int)i;
    }
  }
  __syncthreads();
  const int64_t i = *found;
  if (i < 0) return {-1, {0, 0}, 0, 0, 0};
  const int64_t first = FirstPlace(offsets, i);
  return {i, {offsets[i], offsets[i + 1]}, place - first, first, FirstPlace(offsets, i + 1) - first};
}

}  // namespace prl
