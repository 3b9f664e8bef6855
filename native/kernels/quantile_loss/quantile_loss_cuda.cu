// A thread per row, in strides of the grid; the last block to finish adds up what the blocks left in the workspace.
#include "kernels/failures_cuda.h"
#include "kernels/quantile_loss/quantile_loss.h"
#include "kernels/quantile_loss/quantile_loss_math.h"
#include "runtime/cuda/block_sum.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kQuantileThreads = 256;

struct QuantileShared {
  BlockSum<kQuantileThreads> sum;
  bool last;
};

__device__ double LossOfRow(const QuantileLossArgs& a, int64_t r, double weight, CudaReport* report) {
  const float target = a.targets[r];
  double sum = 0.0;
  for (int64_t j = 0, i = r * a.quantiles; j < a.quantiles; ++j, ++i) {
    const float value = a.values[i];
    if (!isfinite(value)) ReportFailure(report, Failure::kQuantileValue, r, value);
    const double e = (double)target - (double)value;
    sum += Pinball(a.level[j], e);
    if (a.d_values) a.d_values[i] = (float)(weight * PinballGradient(a.level[j], e));
  }
  if (!isfinite(target)) ReportFailure(report, Failure::kQuantileTarget, r, target);
  return sum;
}

__global__ void __launch_bounds__(kQuantileThreads)
    QuantileLossKernel(QuantileLossArgs a, double weight, double* partial, CudaReport* report) {
  QuantileShared& shared = SharedAs<QuantileShared>();
  double mine = 0.0;
  const int64_t step = (int64_t)gridDim.x * kQuantileThreads;
  for (int64_t r = (int64_t)blockIdx.x * kQuantileThreads + threadIdx.x; r < a.rows; r += step)
    mine += LossOfRow(a, r, weight, report);
  const double sum = shared.sum(mine);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    shared.last = atomicAdd(&report->counter, 1u) == gridDim.x - 2u;  // it starts at all ones
    __threadfence();
  }
  __syncthreads();
  if (!shared.last) return;
  double total = 0.0;
  for (unsigned block = threadIdx.x; block < gridDim.x; block += kQuantileThreads) total += partial[block];
  total = shared.sum(total);
  if (threadIdx.x == 0) report->values[0] = weight * total;
}

}  // namespace

Status QuantileLossCuda(const QuantileLossArgs& a, const CudaCall& call) {
  PRL_RETURN_IF_ERROR(CheckQuantileLoss(a));
  const LaunchShape shape{QuantileLossBlocks(a), kQuantileThreads, sizeof(QuantileShared)};
  return Launch("quantileLoss", call.stream, shape, QuantileLossKernel, a, QuantileWeight(a),
                static_cast<double*>(call.workspace), call.report);
}

}  // namespace prl
