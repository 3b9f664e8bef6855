// One block per sequence.
#include "kernels/failures_cuda.h"
#include "kernels/importance_weight/importance_weight.h"
#include "kernels/importance_weight/importance_weight_math.h"
#include "runtime/cuda/block_sum.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kWeightThreads = 256;

__device__ bool ReportedInput(const ImportanceWeightArgs& a, int64_t t, CudaReport* report) {
  const bool bad_old = !isfinite(a.old_logprob[t]), bad = bad_old || !isfinite(a.rollout_logprob[t]);
  if (bad_old) ReportFailure(report, Failure::kOldLogProb, t, a.old_logprob[t]);
  else if (bad) ReportFailure(report, Failure::kRolloutLogProb, t, a.rollout_logprob[t]);
  return bad;
}

__global__ void __launch_bounds__(kWeightThreads) ImportanceWeightKernel(ImportanceWeightArgs a, CudaReport* report) {
  const Piece own = PieceOf(a.cu_seqlens, blockIdx.x, a.sequences, a.tokens, report, Failure::kOffsets);
  double sum = 0.0;
  if (a.level == WeightLevel::kSequence) {
    for (int64_t t = own.begin + threadIdx.x; t < own.end; t += kWeightThreads)
      sum += TakesPart(a, t) ? LogWeight(a, t) : 0.0;
    sum = SharedAs<BlockSum<kWeightThreads>>()(sum);
  }
  for (int64_t t = own.begin + threadIdx.x; t < own.end; t += kWeightThreads) {
    float weight = 1.0f;
    if (TakesPart(a, t)) {
      const double log_weight = a.level == WeightLevel::kSequence ? sum : LogWeight(a, t);
      weight = BoundedWeight(a, log_weight);
      // A bad input spoils the sum for the whole sequence, but only its own token says so.
      if (!ReportedInput(a, t, report) && isfinite(log_weight) && !isfinite(weight))
        ReportFailure(report, Failure::kImportanceWeight, t, weight);
    }
    a.out[t] = weight;
  }
}

}  // namespace

Status ImportanceWeightCuda(const ImportanceWeightArgs& a, const CudaCall& call) {
  PRL_RETURN_IF_ERROR(CheckImportanceWeight(a));
  const LaunchShape shape{a.sequences, kWeightThreads, sizeof(BlockSum<kWeightThreads>)};
  return Launch("importanceWeights", call.stream, shape, ImportanceWeightKernel, a, call.report);
}

}  // namespace prl
