// The arithmetic of group_center, one for host and device.
#pragma once

#include <cmath>

#include "kernels/group_center/group_center.h"
#include "runtime/hd.h"

namespace prl {

// `squares`: the sum of the squared distances of n values from their mean.
PRL_HD double Deviation(double squares, double n, bool population) {
  const double freedom = population ? n : n - 1.0;
  return freedom > 0.0 ? sqrt(squares / freedom) : 0.0;
}

// Of a reward in a group of n with this mean; `deviation`: the group's or the batch's.
PRL_HD float GroupAdvantage(const GroupAdvantageArgs& a, double reward, double n, double mean, double deviation) {
  const double centered = reward - mean;
  if (n == 1.0) return a.singleton_raw ? (float)reward : 0.0f;
  if (a.centering == Centering::kLeaveOneOut) return (float)(centered * (n / (n - 1.0)));
  // 0 / 0 when epsilon is 0
  if (a.centering == Centering::kScaled && centered != 0.0) return (float)(centered / (deviation + a.epsilon));
  return (float)centered;
}

}  // namespace prl
