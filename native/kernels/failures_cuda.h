// How a kernel reports what it found wrong, and how it reads packed offsets that nobody has checked before it.
#pragma once

#include <cuda_runtime.h>

#include "kernels/failures.h"
#include "runtime/cuda/queue.h"

namespace prl {

// The first failure wins: the smallest (index, kind); its value rides along. 64 bits, so that one atomic operation does
// it.
__device__ inline void ReportFailure(CudaReport* report, Failure kind, int64_t index, unsigned value_bits) {
  atomicMin(&report->failure, PackFailure(kind, index, value_bits));
}
__device__ inline void ReportFailure(CudaReport* report, Failure kind, int64_t index, float value) {
  ReportFailure(report, kind, index, __float_as_uint(value));
}

// Piece i of packed offsets, kept inside [0, total] whatever the offsets hold: a wrong offset must not read other
// memory. That it is wrong is reported under `kind` with its number.
struct Piece {
  int64_t begin, end;
};
__device__ inline bool IsPiece(const int32_t* offsets, int64_t i, int64_t pieces, int64_t total) {
  const int64_t begin = offsets[i], end = offsets[i + 1];
  return begin >= 0 && end >= begin && end <= total && (i != 0 || begin == 0) && (i != pieces - 1 || end == total);
}
__device__ inline Piece PieceOf(const int32_t* offsets, int64_t i, int64_t pieces, int64_t total, CudaReport* report,
                                Failure kind) {
  if (IsPiece(offsets, i, pieces, total)) return {offsets[i], offsets[i + 1]};
  if (threadIdx.x == 0) ReportFailure(report, kind, i, (unsigned)offsets[i + 1]);
  return {0, 0};
}

}  // namespace prl
