// CONTRACT of coherence: scores of a response's steps -> how high and how steady they are, at several scales.
// Multi-scale coherence of PROGRS (arXiv 2604.02341).
//
//   scores s_1 .. s_K of a response, each in [0, 1]; for each window size w the steps are cut into ceil(K / w) windows
//   in a row, the last of which may be shorter; a window with mean m and population deviation d counts
//     m * exp(-lambda_var * d / m)         0 if m is 0
//   out_i = mean over the sizes of (mean over the size's windows)        0 for a response without steps
//
// Constant scores keep their mean exactly: the mean of n equal floats is exact in double and their deviation exactly 0.
// A size above K makes one window of all steps. A size that is named twice counts twice. Sums run in order, in double:
// out_i depends on nothing but its own scores, the sizes and lambda_var. A score that is NaN or outside [0, 1] is
// named, and nothing is written.
#pragma once

#include <cstdint>

#include "runtime/cuda/entry.h"
#include "runtime/status.h"

namespace prl {

constexpr int kMaxCoherenceWindows = 16;

struct CoherenceArgs {
  int64_t scores, responses;
  const float* step_scores;  // [scores]
  // [responses + 1], rising from 0 to scores: response i owns cu_scores[i] .. cu_scores[i + 1] - 1
  const int32_t* cu_scores;
  double lambda_var;                      // >= 0
  int32_t window_sizes;                   // 1 .. kMaxCoherenceWindows
  int32_t windows[kMaxCoherenceWindows];  // each >= 1
  float* out;                             // [responses]
};

// A few numbers per response: compiled once, not per instruction set.
Status CoherenceCpu(const CoherenceArgs& args);
Status ScoreOutside(int64_t index, float score);

// Device pointers; queued, not run, when it returns (runtime/cuda/queue.h). One launch.
PRL_CUDA_ENTRY(CoherenceCuda, (const CoherenceArgs& args, const CudaCall& call))

}  // namespace prl
