// The arithmetic of importance weights, one for host and device.
#pragma once

#include <cmath>

#include "kernels/importance_weight/importance_weight.h"
#include "runtime/hd.h"

namespace prl {

PRL_HD bool TakesPart(const ImportanceWeightArgs& a, int64_t t) { return !a.mask || a.mask[t] != 0; }

PRL_HD double LogWeight(const ImportanceWeightArgs& a, int64_t t) {
  return (double)a.old_logprob[t] - (double)a.rollout_logprob[t];
}

PRL_HD float BoundedWeight(const ImportanceWeightArgs& a, double log_weight) {
  const double weight = exp(log_weight);
  const bool below = weight<a.clip_min, above = weight> a.clip_max;
  if (a.bound == WeightBound::kMask) return below || above ? 0.0f : (float)weight;
  return (float)(below ? a.clip_min : above ? a.clip_max : weight);
}

}  // namespace prl
