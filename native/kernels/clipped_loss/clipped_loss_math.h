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

// Whether a token's gradient depends on the other tokens of its sequence: the rows of its logits are then read twice.
PRL_HD bool NeedsSequence(const LossParams& p) {
  return p.ratio_level == RatioLevel::kSequence || p.surrogate == Surrogate::kVespo || p.off_policy_threshold < INFINITY;
}

PRL_HD double Clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// What a sequence adds up over its active tokens where NeedsSequence.
struct SequenceTotals {
  double log_ratio;   // new - old
  double log_weight;  // kVespo: log of the product of ratios and importance weights, each of them bounded
  double drift;       // sampling - new, where there is a threshold
};
// exp of these is still far from the limits of float; the lower one is the 1e-8 of VESPO's authors.
constexpr double kMostLogRatio = 20.0, kLeastLogWeight = -18.420680743952367;

PRL_HD void AddToTotals(SequenceTotals* totals, const LossParams& p, const LossBatch& batch, int64_t t, float logprob) {
  const double log_ratio = LogRatio(batch, t, logprob);
  totals->log_ratio += log_ratio;
  if (p.off_policy_threshold < INFINITY) {
    totals->drift += batch.sampling_logprob ? (double)batch.sampling_logprob[t] - (double)logprob : -log_ratio;
  }
  if (p.surrogate != Surrogate::kVespo) return;
  totals->log_weight += Clamp(log_ratio, -kMostLogRatio, kMostLogRatio);
  if (batch.importance_weight) totals->log_weight += Clamp(log((double)batch.importance_weight[t]), kLeastLogWeight, kMostLogRatio);
}

// What the loss of a token takes from its sequence.
struct SequenceTerms {
  double ratio;  // sequence level
  BySign phi;    // kVespo
  double drift;  // mean of sampling - new
};

PRL_HD double VespoPhi(double k, double lambda, double log_weight) { return exp(lambda + k * log_weight - lambda * exp(log_weight)); }

PRL_HD SequenceTerms TermsOf(const LossParams& p, const SequenceTotals& totals, double active) {
  SequenceTerms terms = {exp(totals.log_ratio / active), {1.0, 1.0}, totals.drift / active};
  if (p.surrogate == Surrogate::kVespo) {
    const double log_weight = Clamp(totals.log_weight, kLeastLogWeight, kMostLogRatio);
    terms.phi.positive = VespoPhi(p.vespo_k.positive, p.vespo_lambda.positive, log_weight);
    terms.phi.negative = VespoPhi(p.vespo_k.negative, p.vespo_lambda.negative, log_weight);
  }
  return terms;
}

// A token's own part of the loss and how it changes with the ratio, and with the log-probability when the ratio is held.
struct PolicyTerm {
  double term, d_ratio, d_direct;
  bool clip_low, clip_high;
};

PRL_HD PolicyTerm ClippedTerm(const LossParams& p, double advantage, double ratio) {
  const double low = 1.0 - p.epsilon_low, high = 1.0 + p.epsilon_high;
  const double capped = ratio < p.delta ? ratio : p.delta;
  const double x = capped * advantage, y = Clamp(ratio, low, high) * advantage;
  // The smaller of the two carries the gradient; at a tie, half each. A bound passes the gradient when the ratio is on it.
  const double share = x < y ? 1.0 : x > y ? 0.0 : 0.5;
  const double pass_x = ratio <= p.delta ? share : 0.0, pass_y = ratio >= low && ratio <= high ? 1.0 - share : 0.0;
  return {-(x < y ? x : y), -advantage * (pass_x + pass_y), 0.0, ratio < low && advantage < 0.0, capped > high && advantage > 0.0};
}

// With sigmoid(2 x) = (1 + tanh(x)) / 2: on the GPU it needs fewer registers.
PRL_HD PolicyTerm SapoTerm(const LossParams& p, double advantage, double ratio) {
  const double tau = advantage > 0.0 ? p.temperature.positive : p.temperature.negative;
  const double h = tanh(0.5 * tau * (ratio - 1.0));
  return {-2.0 / tau * (1.0 + h) * advantage, -(1.0 - h) * (1.0 + h) * advantage, 0.0, false, false};
}

// The gradient of the log-probability itself, times a weight that it does not flow through.
PRL_HD PolicyTerm WeightedTerm(double weight, double advantage, double logprob, bool clip_high) {
  return {-weight * advantage * logprob, 0.0, -weight * advantage, false, clip_high};
}

PRL_HD PolicyTerm SurrogateTerm(const LossParams& p, double advantage, double logprob, double ratio, const SequenceTerms& sequence) {
  switch (p.surrogate) {
    case Surrogate::kClipped: break;
    case Surrogate::kCispo: {
      const bool over = ratio > p.epsilon_high;
      return WeightedTerm(over ? p.epsilon_high : ratio, advantage, logprob, over && advantage > 0.0);
    }
    case Surrogate::kSapo: return SapoTerm(p, advantage, ratio);
    case Surrogate::kVespo: return WeightedTerm(advantage >= 0.0 ? sequence.phi.positive : sequence.phi.negative, advantage, logprob, false);
    case Surrogate::kRaft: return WeightedTerm(1.0, advantage, logprob, false);
  }
  return ClippedTerm(p, advantage, ratio);
}

// The estimate of the KL divergence to the reference that is in the loss, and its derivative; r = ref - logprob.
struct KlTerm {
  double kl, d_logprob;
};
PRL_HD KlTerm KlOf(KlEstimator estimator, double r) {
  switch (estimator) {
    case KlEstimator::kK1: return {-r, 1.0};
    case KlEstimator::kK2: return {0.5 * r * r, -r};
    case KlEstimator::kK3: break;
  }
  const double e = expm1(r);
  return {e - r, -e};
}

// One active token, before its weight and without the entropy bonus.
struct TokenLoss {
  double term;
  double d_ratio;   // d term / d ratio
  double d_direct;  // d term / d logprob with the ratio held
  double kl;        // k3 to the reference, 0 without one
  double phi;       // kVespo, else 0
  bool clip_low, clip_high;
  bool finite;      // inputs and results
};

// `sequence` owns t; `terms` are read where NeedsSequence.
PRL_HD TokenLoss LossOfToken(const LossParams& p, const LossBatch& batch, int64_t sequence, int64_t t, float logprob, float entropy,
                             double ratio, const SequenceTerms& terms) {
  const double advantage = (double)batch.advantages[batch.advantages_per_token ? t : sequence];
  const double importance = batch.importance_weight ? (double)batch.importance_weight[t] : 1.0;
  const bool vespo = p.surrogate == Surrogate::kVespo;
  const bool keep = entropy >= p.min_entropy && (advantage >= 0.0 || terms.drift <= p.off_policy_threshold);
  const double scale = !keep ? 0.0 : vespo ? 1.0 : importance;
  const PolicyTerm policy = SurrogateTerm(p, advantage, (double)logprob, ratio, terms);

  TokenLoss out;
  out.term = scale * policy.term;
  out.d_ratio = scale * policy.d_ratio;
  out.d_direct = scale * policy.d_direct;
  out.phi = !vespo ? 0.0 : advantage >= 0.0 ? terms.phi.positive : terms.phi.negative;
  out.clip_low = policy.clip_low;
  out.clip_high = policy.clip_high;

  out.kl = 0.0;
  double inputs = (double)logprob + advantage + (double)entropy + importance + ratio + terms.drift;
  if (batch.old_logprob) inputs += (double)batch.old_logprob[t];  // +inf hides behind a ratio of 0
  if (batch.ref_logprob) {
    const double ref = (double)batch.ref_logprob[t];
    const KlTerm k3 = KlOf(KlEstimator::kK3, ref - (double)logprob);
    out.kl = k3.kl;
    inputs += ref;
    if (p.beta != 0.0) {
      const KlTerm own = p.kl_estimator == KlEstimator::kK3 ? k3 : KlOf(p.kl_estimator, ref - (double)logprob);
      const double beta = p.beta * (p.kl_ratio_correction ? ratio : 1.0);
      out.term += beta * own.kl;
      out.d_direct += beta * own.d_logprob;
      if (p.kl_ratio_correction) out.d_ratio += p.beta * own.kl;
    }
  }
  out.finite = IsFinite(inputs) && importance >= 0.0 && IsFinite(out.kl) && IsFinite(out.term) && IsFinite(out.d_direct) && IsFinite(out.d_ratio);
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
  into->phi += part.phi;
  into->clip_count += part.clip_count;
}

PRL_HD void AddRatio(LossSums* sums, double ratio) {
  sums->ratio += ratio;
  sums->ratio_squared += ratio * ratio;
  sums->ratio_max = ratio > sums->ratio_max ? ratio : sums->ratio_max;
  sums->ratio_min = ratio < sums->ratio_min ? ratio : sums->ratio_min;
  sums->ratio_count += 1.0;
}

// Whether a sequence is counted once: one ratio and one advantage, so what clips one of its tokens clips all.
PRL_HD bool CountsSequences(const LossParams& p, const LossBatch& batch) {
  return (p.ratio_level == RatioLevel::kSequence || p.surrogate == Surrogate::kVespo) && !batch.advantages_per_token;
}

PRL_HD void AddClip(LossSums* sums, const TokenLoss& token) {
  sums->clip_low += token.clip_low ? 1.0 : 0.0;
  sums->clip_high += token.clip_high ? 1.0 : 0.0;
  sums->phi += token.phi;
  sums->clip_count += 1.0;
}

}  // namespace prl
