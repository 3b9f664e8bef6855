#include "kernels/step_reward/step_reward.h"

#include <algorithm>
#include <cmath>

#include "kernels/step_reward/step_reward_math.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

Status CheckSteps(const StepRewardArgs& a) {
  int64_t step = 0;
  for (int64_t i = 0; i <= a.sequences; ++i) {
    while (step < a.steps && a.cu_steps[step] < a.cu_seqlens[i]) ++step;
    if (a.cu_steps[step] != a.cu_seqlens[i]) {
      return Error(Code::kOutOfRange, "cuSteps must hold the start of every sequence, but cuSeqlens[%lld] = %d is inside a step",
                   (long long)i, a.cu_seqlens[i]);
    }
  }
  return Ok();
}

double LogRatio(const StepRewardArgs& a, int64_t t) { return (double)a.old_logprob[t] - (double)a.ref_logprob[t]; }

double MeanFuture(const StepRewardArgs& a) {
  double sum = 0;
  for (int64_t t = 0; t < a.tokens; ++t) sum += FutureTerm(a.generator, LogRatio(a, t));
  return a.tokens ? sum / (double)a.tokens : 0.0;
}

// Returns the token of sequence i that overflows, the last when there are several, or INT64_MAX.
int64_t Sequence(const StepRewardArgs& a, int64_t i, double mean_future) {
  const int64_t begin = a.cu_seqlens[i], end = a.cu_seqlens[i + 1];
  const double outcome = (double)a.outcome[i];
  int64_t bad = INT64_MAX;
  // The step that holds token t is the one that starts last at or before it; from the end on it only goes down.
  int64_t step = a.cu_steps ? std::upper_bound(a.cu_steps, a.cu_steps + a.steps + 1, (int32_t)(end - 1)) - a.cu_steps - 1 : 0;
  double future = 0.0, value = 0.0;
  for (int64_t t = end - 1; t >= begin; --t) {
    const double d = LogRatio(a, t);
    if (a.cu_steps) while (a.cu_steps[step] > t) --step;
    if (!a.cu_steps || a.cu_steps[step + 1] == t + 1) {
      value = future - (double)(end - 1 - t) * mean_future + (a.inclusive ? LocalTerm(a.generator, d) : 0.0);
    }
    a.out[t] = (float)(outcome - a.scale * value);
    future += FutureTerm(a.generator, d);
    if (bad == INT64_MAX && !(std::isfinite(a.out[t]) && std::isfinite(future))) bad = t;
  }
  return bad;
}

Status CheckFinite(const StepRewardArgs& a) {
  for (int64_t i = 0; i < a.sequences; ++i) {
    if (!std::isfinite(a.outcome[i])) return Error(Code::kNonFinite, "outcomeAdvantages[%lld] is %g", (long long)i, a.outcome[i]);
  }
  for (int64_t t = 0; t < a.tokens; ++t) {
    if (!std::isfinite(a.old_logprob[t])) return Error(Code::kNonFinite, "oldLogProbs[%lld] is %g", (long long)t, a.old_logprob[t]);
    if (!std::isfinite(a.ref_logprob[t])) return Error(Code::kNonFinite, "refLogProbs[%lld] is %g", (long long)t, a.ref_logprob[t]);
  }
  return Ok();
}

}  // namespace

Status StepRewardCpu(const StepRewardArgs& a) {
  PRL_RETURN_IF_ERROR(CheckFinite(a));
  if (a.cu_steps) PRL_RETURN_IF_ERROR(CheckSteps(a));
  const double mean_future = a.baseline ? MeanFuture(a) : 0.0;
  int64_t bad = INT64_MAX;
  const int64_t grain = 1 + 4096 * a.sequences / (a.tokens + 1);
  ParallelRows(a.sequences, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) AtomicMin(&bad, Sequence(a, i, mean_future));
  });
  if (bad == INT64_MAX) return Ok();
  return Error(Code::kNonFinite, "the advantage of token %lld overflows: its log-ratio old - ref is %g", (long long)bad, LogRatio(a, bad));
}

}  // namespace prl
