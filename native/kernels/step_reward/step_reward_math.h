// The arithmetic of step_reward, one for host and device. d = old - ref, u = exp(-d).
#pragma once

#include <cmath>

#include "kernels/step_reward/step_reward.h"
#include "runtime/hd.h"

namespace prl {

PRL_HD double FutureTerm(Generator generator, double d) {
  switch (generator) {
    case Generator::kReverseK1: return d;
    case Generator::kReverseK3: return expm1(-d) + d;
    case Generator::kForwardK1: return -d * exp(-d);
    case Generator::kForwardK3: return -d * exp(-d) - expm1(-d);
  }
  return 0.0;
}

PRL_HD double LocalTerm(Generator generator, double d) {
  switch (generator) {
    case Generator::kReverseK1: return d;
    case Generator::kReverseK3: return d;
    case Generator::kForwardK1: return -exp(-d);
    case Generator::kForwardK3: return -expm1(-d);
  }
  return 0.0;
}

PRL_HD double LogRatio(const StepRewardArgs& a, int64_t t) { return (double)a.old_logprob[t] - (double)a.ref_logprob[t]; }

// The advantage of the last token of a step: d is its log-ratio, `future` the sum over the `after` tokens after it.
PRL_HD float StepAdvantage(const StepRewardArgs& a, double outcome, double d, double future, int64_t after, double mean_future) {
  const double value = future - (double)after * mean_future + (a.inclusive ? LocalTerm(a.generator, d) : 0.0);
  return (float)(outcome - a.scale * value);
}

}  // namespace prl
