// One block per sequence. It walks from the sequence's end to its start, a token per thread at a time, thread 0 with
// the last one: a scan over the threads plus what was carried is each token's future. Every log-probability is read
// once, every advantage written once.
//
// Few long sequences: a block per part (kernels/sequence_parts_cuda.h). A launch before leaves the sum of each round of
// kStepThreads tokens; a block begins with what is behind its part, added round by round as a single block would. A
// step that ends in a later part gets its advantage from there, in a launch after.
#include <cub/block/block_scan.cuh>

#include "kernels/failures_cuda.h"
#include "kernels/sequence_parts_cuda.h"
#include "kernels/step_reward/step_reward.h"
#include "kernels/step_reward/step_reward_math.h"
#include "runtime/cuda/block_sum.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kStepThreads = 256;
using Scan = cub::BlockScan<double, kStepThreads>;
struct StepShared {
  BlockSum<kStepThreads> sum;
  Scan::TempStorage scan;
  float advantages[kStepThreads];
  float lowest;  // the advantage of the lowest token of a round
  double rounds[kStepThreads], carried;
  int found;
};
static_assert(kPartTokens == kPartRounds * kStepThreads, "a part begins with a round");

// The first of offsets[low .. high - 1] that is at least `value`, or high.
__device__ unsigned LowerBound(const int32_t* offsets, unsigned low, unsigned high, int32_t value) {
  while (low < high) {
    const unsigned middle = (low + high) / 2;
    if (offsets[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// The steps of a sequence: their starts are cu_steps[low .. high], the last of them the sequence's end.
struct StepRange {
  unsigned low, high;
};
__device__ StepRange StepsOf(const StepRewardArgs& a, int64_t sequence, Piece own, CudaReport* report) {
  // Each thread of the grid looks at its share of all offsets.
  for (int64_t k = (int64_t)blockIdx.x * kStepThreads + threadIdx.x; k < a.steps;
       k += (int64_t)gridDim.x * kStepThreads) {
    if (!IsPiece(a.cu_steps, k, a.steps, a.tokens))
      ReportFailure(report, Failure::kStepOffsets, k, (unsigned)a.cu_steps[k + 1]);
  }
  const unsigned low = LowerBound(a.cu_steps, 0, (unsigned)a.steps, (int32_t)own.begin);
  if (threadIdx.x == 0 && a.cu_steps[low] != own.begin)
    ReportFailure(report, Failure::kStepInside, sequence, (unsigned)own.begin);
  return {low, LowerBound(a.cu_steps, low, (unsigned)a.steps, (int32_t)own.end)};
}
// The last token of the step that holds token t; inside the sequence whatever the offsets hold.
__device__ int64_t StepEnd(const StepRewardArgs& a, StepRange steps, Piece own, int64_t t) {
  const int64_t end = a.cu_steps[LowerBound(a.cu_steps, steps.low, steps.high, (int32_t)t + 1)];
  return end > t && end <= own.end ? end - 1 : t;
}

__device__ void ReportInput(const StepRewardArgs& a, int64_t t, CudaReport* report) {
  const bool old = !isfinite(a.old_logprob[t]);
  ReportFailure(report, old ? Failure::kOldLogProb : Failure::kRefLogProb, t,
                old ? a.old_logprob[t] : a.ref_logprob[t]);
}

__global__ void __launch_bounds__(kStepThreads) FutureSumKernel(StepRewardArgs a, double* sums, CudaReport* report) {
  const Piece own = PieceOf(a.cu_seqlens, blockIdx.x, a.sequences, a.tokens, report, Failure::kOffsets);
  double sum = 0.0;
  for (int64_t t = own.begin + threadIdx.x; t < own.end; t += kStepThreads)
    sum += FutureTerm(a.generator, LogRatio(a, t));
  sum = SharedAs<BlockSum<kStepThreads>>()(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The sums of the rounds of a part: `rounds` [places * kPartRounds].
__global__ void __launch_bounds__(kStepThreads) RoundSumKernel(StepRewardArgs a, double* rounds, CudaReport* report) {
  StepShared& shared = SharedAs<StepShared>();
  const Piece own = PartOf(a.cu_seqlens, a.sequences, a.tokens, report, &shared.found).FromEnd();
  int64_t t = own.end - 1 - threadIdx.x;
  for (int round = 0; round < kPartRounds; ++round, t -= kStepThreads) {
    double before, total;
    Scan(shared.scan).ExclusiveSum(t >= own.begin ? FutureTerm(a.generator, LogRatio(a, t)) : 0.0, before, total);
    if (threadIdx.x == 0) rounds[(int64_t)blockIdx.x * kPartRounds + round] = total;
    __syncthreads();
  }
}

// Sum of rounds[0 .. n - 1], one after the other. All threads call.
__device__ double SumInOrder(const double* rounds, int64_t n, StepShared& shared) {
  if (threadIdx.x == 0) shared.carried = 0.0;
  for (int64_t first = 0; first < n; first += kStepThreads) {
    const int count = (int)min(n - first, (int64_t)kStepThreads);
    if ((int)threadIdx.x < count) shared.rounds[threadIdx.x] = rounds[first + threadIdx.x];
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int k = 0; k < count; ++k) shared.carried += shared.rounds[k];
    }
    __syncthreads();
  }
  __syncthreads();
  return shared.carried;
}

// `sums` [n], of the sequences or of the rounds of their parts, is needed with a baseline; `rounds` where sequences are
// spread over parts.
struct StepSums {
  const double* sums;
  int64_t n;
  const double* rounds;
};

__global__ void __launch_bounds__(kStepThreads)
    StepAdvantageKernel(StepRewardArgs a, StepSums given, CudaReport* report) {
  StepShared& shared = SharedAs<StepShared>();
  SequencePart part = {blockIdx.x, {0, 0}, 0, 0, 1};
  Piece own;
  if (given.rounds) {
    part = PartOf(a.cu_seqlens, a.sequences, a.tokens, report, &shared.found);
    if (part.sequence < 0) return;  // the same in all threads, and no other block waits
    own = part.FromEnd();
  } else {
    own = part.whole = PieceOf(a.cu_seqlens, part.sequence, a.sequences, a.tokens, report, Failure::kOffsets);
  }
  const StepRange steps = a.cu_steps ? StepsOf(a, part.sequence, part.whole, report) : StepRange{};
  const double outcome = (double)a.outcome[part.sequence];
  if (threadIdx.x == 0 && !isfinite(outcome))
    ReportFailure(report, Failure::kOutcome, part.sequence, a.outcome[part.sequence]);
  double mean_future = 0.0;
  if (a.baseline && a.tokens > 0) {
    for (int64_t i = threadIdx.x; i < given.n; i += kStepThreads) mean_future += given.sums[i];
    mean_future = shared.sum(mean_future) / (double)a.tokens;
    // The last resort: if a token is to blame it says so itself and comes first.
    if (blockIdx.x == 0 && threadIdx.x == 0 && !isfinite(mean_future)) {
      ReportFailure(report, Failure::kAdvantageOverflow, a.tokens - 1, (float)LogRatio(a, a.tokens - 1));
    }
  }

  const bool sound = isfinite(outcome) && isfinite(mean_future);
  // The future terms of the tokens behind
  double carried =
      given.rounds ? SumInOrder(given.rounds + part.place * kPartRounds, part.number * kPartRounds, shared) : 0.0;
  float carried_advantage = 0.0f;  // of the step that holds the first token behind
  int64_t t = own.end - 1 - threadIdx.x;
  double d = t >= own.begin ? LogRatio(a, t) : 0.0;
  for (int64_t last = own.end - 1; last >= own.begin; last -= kStepThreads, t -= kStepThreads) {
    const bool mine = t >= own.begin;
    // Under way during the scan
    const double next = t - kStepThreads >= own.begin ? LogRatio(a, t - kStepThreads) : 0.0;
    const double term = mine ? FutureTerm(a.generator, d) : 0.0;
    double before, total;
    Scan(shared.scan).ExclusiveSum(term, before, total);
    const double future = carried + before;
    float advantage = (float)StepAdvantage(a, outcome, d, future, (double)(part.whole.end - 1 - t), mean_future);
    const int64_t b = a.cu_steps && mine ? StepEnd(a, steps, part.whole, t) : t;
    if (mine && !isfinite(d)) {
      ReportInput(a, t, report);
    } else if (mine && sound && isfinite(future)) {  // what is not finite behind has been reported there
      if (!isfinite(future + term) || (b == t && !isfinite(advantage)))
        ReportFailure(report, Failure::kAdvantageOverflow, t, (float)d);
    }
    if (a.cu_steps) {
      shared.advantages[threadIdx.x] = advantage;
      __syncthreads();
      if (b != t) advantage = b <= last ? shared.advantages[last - b] : carried_advantage;
      if (threadIdx.x == kStepThreads - 1) shared.lowest = advantage;
    }
    if (mine && b < own.end) a.out[t] = advantage;  // else StepFillKernel does
    __syncthreads();                                // the next round writes what this one read
    if (a.cu_steps) carried_advantage = shared.lowest;
    carried += total;
    d = next;
  }
}

// The tokens at the end of a part whose step ends in a later one: that end has been written there.
__global__ void __launch_bounds__(kStepThreads) StepFillKernel(StepRewardArgs a, CudaReport* report) {
  StepShared& shared = SharedAs<StepShared>();
  const SequencePart part = PartOf(a.cu_seqlens, a.sequences, a.tokens, report, &shared.found);
  const Piece own = part.FromEnd();
  if (part.sequence < 0 || part.number == 0 || own.begin == own.end) return;
  const unsigned low = LowerBound(a.cu_steps, 0, (unsigned)a.steps, (int32_t)part.whole.begin);
  const StepRange steps = {low, LowerBound(a.cu_steps, low, (unsigned)a.steps, (int32_t)part.whole.end)};
  const int64_t b = StepEnd(a, steps, part.whole, own.end - 1);
  if (b < own.end) return;
  for (int64_t t = own.end - 1 - threadIdx.x; t >= own.begin; t -= kStepThreads) {
    if (StepEnd(a, steps, part.whole, t) == b) a.out[t] = a.out[b];
  }
}

}  // namespace

Status StepRewardCuda(const StepRewardArgs& a, const CudaCall& call) {
  double* const sums = static_cast<double*>(call.workspace);
  if (const int64_t parts = SequenceParts(a.tokens, a.sequences)) {
    const LaunchShape shape{parts, kStepThreads, sizeof(StepShared)};
    PRL_RETURN_IF_ERROR(Launch("step_reward", call.stream, shape, RoundSumKernel, a, sums, call.report));
    PRL_RETURN_IF_ERROR(Launch("step_reward", call.stream, shape, StepAdvantageKernel, a,
                               StepSums{sums, parts * kPartRounds, sums}, call.report));
    return a.cu_steps ? Launch("step_reward", call.stream, shape, StepFillKernel, a, call.report) : Ok();
  }
  if (a.baseline) {
    const LaunchShape shape{a.sequences, kStepThreads, sizeof(BlockSum<kStepThreads>)};
    PRL_RETURN_IF_ERROR(Launch("step_reward", call.stream, shape, FutureSumKernel, a, sums, call.report));
  }
  const LaunchShape shape{a.sequences, kStepThreads, sizeof(StepShared)};
  return Launch("step_reward", call.stream, shape, StepAdvantageKernel, a, StepSums{sums, a.sequences, nullptr},
                call.report);
}

}  // namespace prl
