// One block per response. A window is walked by one thread: windows are a few steps.
#include "kernels/coherence/coherence.h"
#include "kernels/coherence/coherence_math.h"
#include "runtime/cuda/block_sum.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) CoherenceKernel(CoherenceArgs a, CudaReport* report) {
  BlockSum<kThreads>& block_sum = SharedAs<BlockSum<kThreads>>();
  const Piece own = PieceOf(a.cu_scores, blockIdx.x, a.responses, a.scores, report, Failure::kScoreOffsets);
  const float* scores = a.step_scores + own.begin;
  const int64_t steps = own.end - own.begin;
  for (int64_t k = threadIdx.x; k < steps; k += kThreads) {
    if (!IsScore(scores[k])) ReportFailure(report, Failure::kStepScore, own.begin + k, scores[k]);
  }
  double total = 0.0;
  for (int32_t j = 0; j < a.window_sizes && steps > 0; ++j) {
    const int64_t size = a.windows[j], windows = (steps + size - 1) / size;
    double sum = 0.0;
    for (int64_t k = threadIdx.x; k < windows; k += kThreads) {
      const int64_t begin = k * size, rest = steps - begin;
      sum += WindowScore(scores + begin, size < rest ? size : rest, a.lambda_var);
    }
    total += block_sum(sum) / (double)windows;
  }
  if (threadIdx.x == 0) a.out[blockIdx.x] = (float)(total / (double)a.window_sizes);
}

}  // namespace

Status CoherenceCuda(const CoherenceArgs& a, const CudaCall& call) {
  return Launch("coherence", call.stream, {a.responses, kThreads, sizeof(BlockSum<kThreads>)}, CoherenceKernel, a, call.report);
}

}  // namespace prl
