// The arithmetic of token_logprob, one for host and device: online softmax statistics and the gradient of one element.
#pragma once

#include <cmath>

#include "runtime/hd.h"

namespace prl {

// Of the row seen so far, with x = (logit - max) / temperature <= 0:  sum = sum e^x,  weighted = sum e^x x.
struct RowStats {
  float max;  // of the raw logits
  double sum;
  double weighted;
};

PRL_HD RowStats EmptyStats() { return {-INFINITY, 0.0, 0.0}; }

// Statistics of two parts of a row, expressed against the larger maximum (Milakov and Gimelshein, arXiv 1805.02867; the
// entropy rides along because sum e^(x+d) (x+d) = e^d (weighted + d sum)).
PRL_HD RowStats Rebase(RowStats s, float max, double inv_temperature) {
  if (s.sum == 0.0) return {max, 0.0, 0.0};
  const double shift = ((double)s.max - (double)max) * inv_temperature;
  if (shift == 0.0) return s;
  const double scale = exp(shift);
  return {max, s.sum * scale, scale == 0.0 ? 0.0 : scale * (s.weighted + shift * s.sum)};
}
PRL_HD RowStats Merge(RowStats a, RowStats b, double inv_temperature) {
  const float max = a.max > b.max ? a.max : b.max;
  const RowStats x = Rebase(a, max, inv_temperature), y = Rebase(b, max, inv_temperature);
  return {max, x.sum + y.sum, x.weighted + y.weighted};
}

struct RowResult {
  float log_sum;  // log(sum e^x): log p_j = x_j - log_sum, exact under any common offset
  float logprob, entropy, lse;
  bool top1;  // no logit is above the target's
};

// log_sum: log(sum). mean: weighted / sum, the mean of x under the softmax.
PRL_HD RowResult FinishRow(RowStats s, double target_logit, double inv_temperature, double log_sum, double mean) {
  const double x = (target_logit - (double)s.max) * inv_temperature;
  RowResult r;
  r.log_sum = (float)log_sum;
  r.logprob = (float)(x - log_sum);
  const double entropy = log_sum - mean;
  r.entropy = (float)(entropy > 0.0 ? entropy : 0.0);
  r.lse = (float)((double)s.max * inv_temperature + log_sum);
  r.top1 = target_logit >= (double)s.max;
  return r;
}
PRL_HD RowResult FinishRow(RowStats s, double target_logit, double inv_temperature) {
  return FinishRow(s, target_logit, inv_temperature, log(s.sum), s.weighted / s.sum);
}

// A row has a log-softmax when its maximum is finite and nothing in it was NaN or +inf.
PRL_HD bool RowIsBad(RowStats s) { return !(s.sum > 0.0) || !(s.max < INFINITY) || !(s.max > -INFINITY); }
PRL_HD bool RowIsAllMasked(RowStats s) { return s.sum == 0.0; }

// d logits of a symbol that is not the target (the target's gets + d_logprob / temperature on top):
//   p * (a + b * log p), with a and b once per row; 0 where p is 0, so that -inf never meets a 0.
struct RowGradient {
  float a, b;
};
PRL_HD RowGradient GradientOf(float d_logprob, float d_entropy, float entropy, float inv_temperature) {
  return {-(d_logprob + d_entropy * entropy) * inv_temperature, -d_entropy * inv_temperature};
}

}  // namespace prl
