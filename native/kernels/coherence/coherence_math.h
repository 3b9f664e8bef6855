// The score of one window of coherence, one for host and device.
#pragma once

#include <cmath>
#include <cstdint>

#include "runtime/hd.h"

namespace prl {

// Two passes: the deviation of equal scores is then exactly 0, which sum and sum of squares do not give.
PRL_HD double WindowScore(const float* scores, int64_t n, double lambda_var) {
  double sum = 0.0, squares = 0.0;
  for (int64_t k = 0; k < n; ++k) sum += (double)scores[k];
  const double mean = sum / (double)n;
  for (int64_t k = 0; k < n; ++k) squares += ((double)scores[k] - mean) * ((double)scores[k] - mean);
  if (mean == 0.0) return 0.0;
  return mean * exp(-lambda_var * sqrt(squares / (double)n) / mean);
}

// NaN is not.
PRL_HD bool IsScore(float score) { return score >= 0.0f && score <= 1.0f; }

}  // namespace prl
