// The arithmetic of the clipped loss, one for host and device: the term of a token, its derivatives, its metrics.
#pragma once

#include <cmath>

#include "kernels/clipped_loss/clipped_loss.h"
#include "runtime/hd.h"

namespace prl {

PRL_HD bool IsFinite(double x) { return x - x == 0.0; }

PRL_HD bool IsActive(const LossBatch& batch, int64_t t) { return !batch.mask || batch.mask[t] != 0; }

// The sequence that owns token t: the last one that starts at or before it (empty sequences own nothing).
PRL_HD int64_t SequenceOf(const LossBatch& batch, int64_t t) {
  int64_t low = 0, high = batch.sequences;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (batch.cu_seqlens[middle] <= t) low = middle;
    else high = middle;
  }
  return low;
}

// w_i of a sequence with `active` tokens.
PRL_HD double WeightOfSequence(const LossParams& p, double active) {
  switch (p.aggregation) {
    case Aggregation::kTokenMean: return 1.0 / p.norm_tokens;
    case Aggregation::kSequenceMeanTokenMean: return 1.0 / (p.norm_sequences * active);
    case Aggregation::kSequenceMeanTokenSum: return 1.0 / p.norm_sequences;
    case Aggregation::kSequenceMeanTokenSumNorm: return 1.0 / (p.norm_sequences * p.max_length);
  }
  return 0.0;
}

PRL_HD double LogRatio(const LossBatch& batch, int64_t t, float logprob) {
  return batch.old_logprob ? (double)logprob - (double)batch.old_logprob[t] : 0.0;
}

// d loss / d entropy of an active token.
PRL_HD double EntropyGradient(const LossParams& p) { return p.entropy_coef == 0.0 ? 0.0 : -p.entropy_coef / p.norm_tokens; }

// One active token, before its weight and without the entropy bonus.
struct TokenLoss {
  double term;
  double d_ratio;   // d term / d ratio
  double d_direct;  // d term / d logprob with the ratio held
  double kl;        // k3 to the reference, 0 without one
  bool clip_low, clip_high;
  bool finite;      // inputs and results
};

// `sequence` owns t. The entropy is only looked at.
PRL_HD TokenLoss LossOfToken(const LossParams& p, const LossBatch& batch, int64_t sequence, int64_t t, float logprob, float entropy,
                             double ratio) {
  TokenLoss out;
  const double advantage = (double)batch.advantages[batch.advantages_per_token ? t : sequence];
  const double low = 1.0 - p.epsilon_low, high = 1.0 + p.epsilon_high;

  const double capped = ratio < p.delta ? ratio : p.delta;
  const double clipped = ratio < low ? low : ratio > high ? high : ratio;
  const double x = capped * advantage, y = clipped * advantage;
  // The smaller of the two carries the gradient; at a tie, half each. A bound passes the gradient when the ratio is on it.
  const double share = x < y ? 1.0 : x > y ? 0.0 : 0.5;
  const double pass_x = ratio <= p.delta ? share : 0.0, pass_y = ratio >= low && ratio <= high ? 1.0 - share : 0.0;
  out.term = -(x < y ? x : y);
  out.d_ratio = -advantage * (pass_x + pass_y);
  out.d_direct = 0.0;
  out.clip_low = ratio < low && advantage < 0.0;
  out.clip_high = capped > high && advantage > 0.0;

  out.kl = 0.0;
  double inputs = (double)logprob + advantage + (double)entropy + ratio;
  if (batch.old_logprob) inputs += (double)batch.old_logprob[t];  // +inf hides behind a ratio of 0
  if (batch.ref_logprob) {
    const double ref = (double)batch.ref_logprob[t];
    const double e = expm1(ref - (double)logprob);
    out.kl = e - (ref - (double)logprob);
    inputs += ref;
  }
  if (p.beta != 0.0) {
    const double scale = p.beta * (p.kl_ratio_correction ? ratio : 1.0);
    out.term += scale * out.kl;
    out.d_direct = -scale * expm1((double)batch.ref_logprob[t] - (double)logprob);
    if (p.kl_ratio_correction) out.d_ratio += p.beta * out.kl;
  }
  out.finite = IsFinite(inputs) && IsFinite(out.kl) && IsFinite(out.term) && IsFinite(out.d_direct) && IsFinite(out.d_ratio);
  return out;
}

PRL_HD LossSums EmptySums() {
  LossSums s = {};
  s.ratio_max = -INFINITY;
  s.ratio_min = INFINITY;
  return s;
}

PRL_HD void AddSums(LossSums* into, const LossSums& part) {
  into->loss += part.loss;
  into->tokens += part.tokens;
  into->sequences += part.sequences;
  into->entropy += part.entropy;
  into->kl += part.kl;
  into->old_kl_k1 += part.old_kl_k1;
  into->old_kl_k3 += part.old_kl_k3;
  into->ratio += part.ratio;
  into->ratio_squared += part.ratio_squared;
  into->ratio_max = part.ratio_max > into->ratio_max ? part.ratio_max : into->ratio_max;
  into->ratio_min = part.ratio_min < into->ratio_min ? part.ratio_min : into->ratio_min;
  into->ratio_count += part.ratio_count;
  into->clip_low += part.clip_low;
  into->clip_high += part.clip_high;
  into->clip_count += part.clip_count;
}

PRL_HD void AddRatio(LossSums* sums, double ratio) {
  sums->ratio += ratio;
  sums->ratio_squared += ratio * ratio;
  sums->ratio_max = ratio > sums->ratio_max ? ratio : sums->ratio_max;
  sums->ratio_min = ratio < sums->ratio_min ? ratio : sums->ratio_min;
  sums->ratio_count += 1.0;
}

PRL_HD void AddClip(LossSums* sums, const TokenLoss& token) {
  sums->clip_low += token.clip_low ? 1.0 : 0.0;
  sums->clip_high += token.clip_high ? 1.0 : 0.0;
  sums->clip_count += 1.0;
}

}  // namespace prl
