#include "kernels/step_reward/step_reward.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/step_reward/step_reward_math.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// Tokens worth a task of their own, and how many pieces (steps or sequences) have about as many.
constexpr int64_t kTaskTokens = 8192;
int64_t Grain(const StepRewardArgs& a, int64_t pieces) { return 1 + kTaskTokens * pieces / (a.tokens + 1); }

Status CheckSteps(const StepRewardArgs& a) {
  int64_t step = 0;
  for (int64_t i = 0; i <= a.sequences; ++i) {
    while (step < a.steps && a.cu_steps[step] < a.cu_seqlens[i]) ++step;
    if (a.cu_steps[step] != a.cu_seqlens[i]) {
      return Error(Code::kOutOfRange,
                   "cuSteps must hold the start of every sequence, but cuSeqlens[%lld] = %d is inside a step",
                   (long long)i, a.cu_seqlens[i]);
    }
  }
  return Ok();
}

// The first of tokens [first, end) with an input that is not finite, or INT64_MAX. Finite floats have a finite
// difference in double.
int64_t FirstNonFinite(const StepRewardArgs& a, int64_t first, int64_t end) {
  for (int64_t t = first; t < end; ++t) {
    if (!std::isfinite(LogRatio(a, t))) return t;
  }
  return INT64_MAX;
}

Status NonFinite(const StepRewardArgs& a, int64_t t) {
  const bool old = !std::isfinite(a.old_logprob[t]);
  return Error(Code::kNonFinite, "%s[%lld] is %g", old ? "oldLogProbs" : "refLogProbs", (long long)t,
               old ? a.old_logprob[t] : a.ref_logprob[t]);
}

// Sum of the future terms of tokens [first, end). The partial sums of k1 let the compiler use vectors.
double FutureSum(const StepRewardArgs& a, Generator generator, int64_t first, int64_t end) {
  double sum = 0.0;
  int64_t t = first;
  if (generator == Generator::kReverseK1) {
    double part[8] = {0};
    for (; t + 8 <= end; t += 8) {
      for (int k = 0; k < 8; ++k) part[k] += LogRatio(a, t + k);
    }
    for (int k = 0; k < 8; ++k) sum += part[k];
  }
  for (; t < end; ++t) sum += FutureTerm(generator, LogRatio(a, t));
  return sum;
}

// The future sums of pieces (steps or sequences). Returns the first token with an input that is not finite: it shows in
// its sum.
int64_t SumPieces(const StepRewardArgs& a, const int32_t* offsets, int64_t pieces, double* sums) {
  // Of single tokens without a baseline nobody needs the sums, only their being finite: then the cheapest will do.
  const Generator generator = a.cu_steps || a.baseline ? a.generator : Generator::kReverseK1;
  int64_t bad = INT64_MAX;
  ParallelRows(pieces, Grain(a, pieces), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      sums[k] = FutureSum(a, generator, offsets[k], offsets[k + 1]);
      if (!std::isfinite(sums[k])) AtomicMin(&bad, FirstNonFinite(a, offsets[k], offsets[k + 1]));
    }
  });
  return bad;
}

// One advantage per step, from the last step to the first. Returns the last token of the last step that overflows, or
// INT64_MAX.
int64_t SequenceOfSteps(const StepRewardArgs& a, int64_t i, double mean_future, const double* sums) {
  const int64_t begin = a.cu_seqlens[i], end = a.cu_seqlens[i + 1];
  const double outcome = (double)a.outcome[i];
  // The step that holds the last token is the one that starts last at or before it.
  int64_t step = std::upper_bound(a.cu_steps, a.cu_steps + a.steps + 1, (int32_t)(end - 1)) - a.cu_steps - 1;
  int64_t bad = INT64_MAX;
  double future = 0.0;
  for (int64_t last = end - 1; last >= begin; last = a.cu_steps[step] - 1, --step) {
    while (a.cu_steps[step] > last) --step;  // a step without tokens
    const float advantage =
        (float)StepAdvantage(a, outcome, LogRatio(a, last), future, (double)(end - 1 - last), mean_future);
    std::fill(a.out + a.cu_steps[step], a.out + last + 1, advantage);
    future += sums[step];
    if (bad == INT64_MAX && !(std::isfinite(advantage) && std::isfinite(future))) bad = last;
  }
  return bad;
}

}  // namespace

Status StepRewardCpu(const StepRewardArgs& a) {
  if (a.cu_steps) PRL_RETURN_IF_ERROR(CheckSteps(a));
  for (int64_t i = 0; i < a.sequences; ++i) {
    if (!std::isfinite(a.outcome[i]))
      return Error(Code::kNonFinite, "outcomeAdvantages[%lld] is %g", (long long)i, a.outcome[i]);
  }
  const int64_t pieces = a.cu_steps ? a.steps : a.sequences;
  std::vector<double> sums(static_cast<size_t>(pieces));
  int64_t bad = SumPieces(a, a.cu_steps ? a.cu_steps : a.cu_seqlens, pieces, sums.data());
  if (bad != INT64_MAX) return NonFinite(a, bad);
  double mean_future = 0.0;
  if (a.baseline && a.tokens > 0) {
    for (double sum : sums) mean_future += sum;
    mean_future /= (double)a.tokens;
  }
  ParallelRows(a.sequences, Grain(a, a.sequences), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      AtomicMin(&bad,
                a.cu_steps ? SequenceOfSteps(a, i, mean_future, sums.data()) : TokenAdvantagesCpu(a, i, mean_future));
    }
  });
  if (bad == INT64_MAX) return Ok();
  return Error(Code::kNonFinite, "the advantage of token %lld overflows: its log-ratio old - ref is %g", (long long)bad,
               LogRatio(a, bad));
}

}  // namespace prl
