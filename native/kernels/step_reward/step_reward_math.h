// The arithmetic of step_reward, one for host and device. d = old - ref, u = exp(-d).
#pragma once

#include "kernels/step_reward/step_reward.h"
#include "runtime/number.h"

namespace prl {

template <typename N>
PRL_HD N FutureTerm(Generator generator, N d) {
  switch (generator) {
    case Generator::kReverseK1: return d;
    case Generator::kReverseK3: return Expm1(-d) + d;
    case Generator::kForwardK1: return -d * Exp(-d);
    case Generator::kForwardK3: return -d * Exp(-d) - Expm1(-d);
  }
  return N();
}

template <typename N>
PRL_HD N LocalTerm(Generator generator, N d) {
  switch (generator) {
    case Generator::kReverseK1: return d;
    case Generator::kReverseK3: return d;
    case Generator::kForwardK1: return -Exp(-d);
    case Generator::kForwardK3: return -Expm1(-d);
  }
  return N();
}

PRL_HD double LogRatio(const StepRewardArgs& a, int64_t t) {
  return (double)a.old_logprob[t] - (double)a.ref_logprob[t];
}

// The advantage of the last token of a step: d is its log-ratio, `future` the sum over the `after` tokens after it.
template <typename N>
PRL_HD N StepAdvantage(const StepRewardArgs& a, double outcome, N d, N future, N after, double mean_future) {
  N value = future - after * mean_future;
  if (a.inclusive) value += LocalTerm(a.generator, d);
  return outcome - a.scale * value;
}

}  // namespace prl
