// What the CUDA skeletons with a loss share.
#pragma once

#include "kernels/clipped_loss/clipped_loss_math.h"
#include "kernels/failures_cuda.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {

constexpr int kLossThreads = 256;  // a block per sequence

// Settles norm_tokens when it is to be counted: here where there is no mask, else by a kernel that leaves the number in
// the report. Once per call, before what needs it.
Status CountTokens(const LossBatch& batch, LossParams* params, const CudaCall& call);
// ClippedLossCuda after CountTokens.
Status ClippedLossCounted(const ClippedLossArgs& args, const CudaCall& call);

// The parameters as the formulas want them. The counter starts at all ones: a count of n reads as n - 1.
__device__ inline LossParams Counted(LossParams params, const CudaReport* report) {
  if (params.norm_tokens == 0.0) params.norm_tokens = (double)max(1u, report->count + 1u);
  return params;
}

}  // namespace prl
