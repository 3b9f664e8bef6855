// One block per response. A window is walked by one thread: windows are a few steps.
#include "kernels/coherence/coherence.h"
#include "kernels/coherence/coherence_math.h"
#include "kernels/failures_cuda.h"
#include "runtime/cuda/block_sum.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kCoherenceThreads = 128;

__global__ void __launch_bounds__(kCoherenceThreads) CoherenceKernel(CoherenceArgs a, CudaReport* report) {
  BlockSum<kCoherenceThreads>& block_sum = SharedAs<BlockSum<kCoherenceThreads>>();
  const Piece own = PieceOf(a.cu_scores, blockIdx.x, a.responses, a.scores, report, Failure::kScoreOffsets);
  const float* scores = a.step_scores + own.begin;
  const int64_t steps = own.end - own.begin;
  for (int64_t k = threadIdx.x; k < steps; k += kCoherenceThreads) {
    if (!IsScore(scores[k])) ReportFailure(report, Failure::kStepScore, own.begin + k, scores[k]);
  }
  double total = 0.0;
  for (int32_t j = 0; j < a.window_sizes && steps > 0; ++j) {
    const int64_t size = a.windows[j], windows = (steps + size - 1) / size;
    double sum = 0.0;
    for (int64_t k = threadIdx.x; k < windows; k += kCoherenceThreads) {
      const int64_t begin = k * size, rest = steps - begin;
      sum += WindowScore(scores + begin, size < rest ? size : rest, a.lambda_var);
    }
    total += block_sum(sum) / (double)windows;
  }
  if (threadIdx.x == 0) a.out[blockIdx.x] = (float)(total / (double)a.window_sizes);
}

}  // namespace

Status CoherenceCuda(const CoherenceArgs& a, const CudaCall& call) {
  const LaunchShape shape{a.responses, kCoherenceThreads, sizeof(BlockSum<kCoherenceThreads>)};
  return Launch("coherence", call.stream, shape, CoherenceKernel, a, call.report);
}

}  // namespace prl
