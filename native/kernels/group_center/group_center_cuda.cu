// One block per response, which finds its group by looking at the ids of all: B^2 comparisons are nothing for the B of
// a batch. Each block sums in the same order over the responses, so what two responses of a group take from it is the
// same bit for bit.
#include "kernels/failures_cuda.h"
#include "kernels/group_center/group_center.h"
#include "kernels/group_center/group_center_math.h"
#include "runtime/cuda/block_sum.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kGroupThreads = 128;

__device__ void CheckOwn(float value, Failure kind, CudaReport* report) {
  if (threadIdx.x == 0 && !isfinite(value)) ReportFailure(report, kind, blockIdx.x, value);
}

// How many of the n values `belongs` picks, their mean, and the sum of their squared distances from it.
struct Moments {
  double count, mean, squares;
};
template <typename Belongs>
__device__ Moments MomentsOf(const float* values, int64_t n, const Belongs& belongs,
                             BlockSum<kGroupThreads>& block_sum) {
  double count = 0.0, sum = 0.0, squares = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += kGroupThreads) {
    if (!belongs(i)) continue;
    count += 1.0;
    sum += (double)values[i];
  }
  count = block_sum(count);
  const double mean = block_sum(sum) / count;
  for (int64_t i = threadIdx.x; i < n; i += kGroupThreads) {
    const double x = belongs(i) ? (double)values[i] - mean : 0.0;
    squares += x * x;
  }
  return {count, mean, block_sum(squares)};
}

__global__ void __launch_bounds__(kGroupThreads) GroupAdvantageKernel(GroupAdvantageArgs a, CudaReport* report) {
  BlockSum<kGroupThreads>& block_sum = SharedAs<BlockSum<kGroupThreads>>();
  const float reward = a.rewards[blockIdx.x];
  const int32_t id = a.group[blockIdx.x];
  CheckOwn(reward, Failure::kReward, report);
  const Moments group = MomentsOf(
      a.rewards, a.responses, [&](int64_t i) { return a.group[i] == id; }, block_sum);
  Moments spread = group;
  if (a.batch_deviation)
    spread = MomentsOf(
        a.rewards, a.responses, [](int64_t) { return true; }, block_sum);
  const double deviation = Deviation(spread.squares, spread.count, a.population);
  if (threadIdx.x == 0) a.out[blockIdx.x] = GroupAdvantage(a, (double)reward, group.count, group.mean, deviation);
}

__global__ void __launch_bounds__(kGroupThreads) OutcomeCenterKernel(OutcomeCenterArgs a, CudaReport* report) {
  BlockSum<kGroupThreads>& block_sum = SharedAs<BlockSum<kGroupThreads>>();
  const float score = a.scores[blockIdx.x];
  const int32_t id = a.group[blockIdx.x];
  const bool correct = a.correct[blockIdx.x] != 0, keep = correct && !a.center_correct;
  CheckOwn(score, Failure::kScore, report);
  const auto belongs = [&](int64_t i) { return a.group[i] == id && (a.correct[i] != 0) == correct; };
  const Moments group = MomentsOf(a.scores, a.responses, belongs, block_sum);
  if (threadIdx.x == 0) a.out[blockIdx.x] = keep ? score : (float)((double)score - group.mean);
}

}  // namespace

Status GroupAdvantageCuda(const GroupAdvantageArgs& a, const CudaCall& call) {
  const LaunchShape shape{a.responses, kGroupThreads, sizeof(BlockSum<kGroupThreads>)};
  return Launch("group_center", call.stream, shape, GroupAdvantageKernel, a, call.report);
}

Status OutcomeCenterCuda(const OutcomeCenterArgs& a, const CudaCall& call) {
  const LaunchShape shape{a.responses, kGroupThreads, sizeof(BlockSum<kGroupThreads>)};
  return Launch("group_center", call.stream, shape, OutcomeCenterKernel, a, call.report);
}

}  // namespace prl
