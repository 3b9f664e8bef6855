// The arithmetic of the clipped loss, one for host and device, for a token or a vector of them (N: runtime/number.h):
// the term of a token, its derivatives, its metrics.
#pragma once

#include "kernels/clipped_loss/clipped_loss.h"
#include "runtime/number.h"

namespace prl {

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

// What an active token brings; differences and the entropy are 0 where the batch lacks what they need.
template <typename N>
struct TokenInputs {
  N logprob;
  N log_ratio;  // new - old
  N ref_ratio;  // ref - new
  N drift;      // sampling - new
  N advantage, importance, entropy;
  bool has_ref, has_importance, has_entropy;  // of the batch
};

// `sequence` owns t.
PRL_HD TokenInputs<double> InputsOfToken(const LossBatch& batch, int64_t sequence, int64_t t, float logprob,
                                         const float* entropy) {
  TokenInputs<double> in;
  in.logprob = (double)logprob;
  in.log_ratio = LogRatio(batch, t, logprob);
  in.has_ref = batch.ref_logprob != nullptr;
  in.ref_ratio = in.has_ref ? (double)batch.ref_logprob[t] - in.logprob : 0.0;
  in.drift = batch.sampling_logprob ? (double)batch.sampling_logprob[t] - in.logprob : -in.log_ratio;
  in.advantage = (double)batch.advantages[batch.advantages_per_token ? t : sequence];
  in.has_importance = batch.importance_weight != nullptr;
  in.importance = in.has_importance ? (double)batch.importance_weight[t] : 1.0;
  in.has_entropy = entropy != nullptr;
  in.entropy = in.has_entropy ? (double)*entropy : 0.0;
  return in;
}

// d loss / d entropy of an active token.
PRL_HD double EntropyGradient(const LossParams& p) {
  return p.entropy_coef == 0.0 ? 0.0 : -p.entropy_coef / p.norm_tokens;
}

// Whether a token's gradient depends on the other tokens of its sequence: the rows of its logits are then read twice.
PRL_HD bool NeedsSequence(const LossParams& p) {
  return p.ratio_level == RatioLevel::kSequence || p.surrogate == Surrogate::kVespo ||
         p.off_policy_threshold < INFINITY;
}

template <typename N>
PRL_HD N Clamp(N x, double low, double high) {
  return x < low ? low : x > high ? high : x;
}

// What a sequence adds up over its active tokens where NeedsSequence.
template <typename N>
struct SequenceTotals {
  N log_ratio;   // new - old
  N log_weight;  // kVespo: log of the product of ratios and importance weights, each of them bounded
  N drift;       // sampling - new, where there is a threshold
};
// exp of these is still far from the limits of float; the lower one is the 1e-8 of VESPO's authors.
constexpr double kMostLogRatio = 20.0, kLeastLogWeight = -18.420680743952367;

template <typename N>
PRL_HD void AddToTotals(SequenceTotals<N>* totals, const LossParams& p, const TokenInputs<N>& in) {
  totals->log_ratio += in.log_ratio;
  if (p.off_policy_threshold < INFINITY) totals->drift += in.drift;
  if (p.surrogate != Surrogate::kVespo) return;
  totals->log_weight += Clamp(in.log_ratio, -kMostLogRatio, kMostLogRatio);
  if (in.has_importance) totals->log_weight += Clamp(Log(in.importance), kLeastLogWeight, kMostLogRatio);
}

// One value where the advantage is not negative, another where it is.
struct BySign {
  double positive, negative;
};

// What the loss of a token takes from its sequence.
struct SequenceTerms {
  double ratio;  // sequence level
  BySign phi;    // kVespo
  double drift;  // mean of sampling - new
};

PRL_HD double VespoPhi(double k, double lambda, double log_weight) {
  return exp(lambda + k * log_weight - lambda * exp(log_weight));
}

PRL_HD SequenceTerms TermsOf(const LossParams& p, const SequenceTotals<double>& totals, double active) {
  SequenceTerms terms = {exp(totals.log_ratio / active), {1.0, 1.0}, totals.drift / active};
  if (p.surrogate == Surrogate::kVespo) {
    const double log_weight = Clamp(totals.log_weight, kLeastLogWeight, kMostLogRatio);
    terms.phi.positive = VespoPhi(p.vespo_k_pos, p.vespo_lambda_pos, log_weight);
    terms.phi.negative = VespoPhi(p.vespo_k_neg, p.vespo_lambda_neg, log_weight);
  }
  return terms;
}

// A token's own part of the loss and how it changes with the ratio, and with the log-probability when the ratio is
// held.
template <typename N>
struct PolicyTerm {
  N term, d_ratio, d_direct;
  MaskOf<N> clip_low, clip_high;
};

template <typename N>
PRL_HD PolicyTerm<N> ClippedTerm(const LossParams& p, N advantage, N ratio) {
  const double low = 1.0 - p.epsilon_low, high = 1.0 + p.epsilon_high;
  const auto below = ratio<low, above = ratio> high;
  const N capped = ratio < p.delta ? ratio : p.delta;
  const N x = capped * advantage, y = (below ? low : above ? high : ratio) * advantage;
  // The smaller of the two carries the gradient; at a tie, half each. A bound passes the gradient when the ratio is on
  // it.
  const N share = x < y ? 1.0 : x > y ? N() : N() + 0.5;
  const N pass_x = ratio <= p.delta ? share : 0.0, pass_y = below || above ? 0.0 : 1.0 - share;
  return {-(x < y ? x : y), -advantage * (pass_x + pass_y), N(),
          below && advantage<0.0, capped> high && advantage > 0.0};
}

// With sigmoid(2 x) = (1 + tanh(x)) / 2: on the GPU it needs fewer registers.
template <typename N>
PRL_HD PolicyTerm<N> SapoTerm(const LossParams& p, N advantage, N ratio) {
  const N tau = advantage > 0.0 ? p.sapo_temperature_pos : p.sapo_temperature_neg;
  const N h = Tanh(0.5 * tau * (ratio - 1.0));
  return {-2.0 / tau * (1.0 + h) * advantage, -(1.0 - h) * (1.0 + h) * advantage, N(), MaskOf<N>(), MaskOf<N>()};
}

// The gradient of the log-probability itself, times a weight that it does not flow through.
template <typename N>
PRL_HD PolicyTerm<N> WeightedTerm(N weight, N advantage, N logprob, MaskOf<N> clip_high) {
  return {-weight * advantage * logprob, N(), -weight * advantage, MaskOf<N>(), clip_high};
}

// kVespo's weight of a token.
template <typename N>
PRL_HD N PhiOf(N advantage, const SequenceTerms& sequence) {
  return advantage >= 0.0 ? sequence.phi.positive : sequence.phi.negative;
}

template <typename N>
PRL_HD PolicyTerm<N> SurrogateTerm(const LossParams& p, N advantage, N logprob, N ratio,
                                   const SequenceTerms& sequence) {
  switch (p.surrogate) {
    case Surrogate::kClipped: break;
    case Surrogate::kCispo: {
      const auto over = ratio > p.epsilon_high;
      return WeightedTerm<N>(over ? p.epsilon_high : ratio, advantage, logprob, over && advantage > 0.0);
    }
    case Surrogate::kSapo: return SapoTerm(p, advantage, ratio);
    case Surrogate::kVespo: return WeightedTerm(PhiOf(advantage, sequence), advantage, logprob, MaskOf<N>());
    case Surrogate::kRaft: return WeightedTerm(N() + 1.0, advantage, logprob, MaskOf<N>());
  }
  return ClippedTerm(p, advantage, ratio);
}

// The estimate of the KL divergence to the reference that is in the loss, and its derivative; r = ref - logprob.
template <typename N>
struct KlTerm {
  N kl, d_logprob;
};
template <typename N>
PRL_HD KlTerm<N> KlOf(KlEstimator estimator, N r) {
  switch (estimator) {
    case KlEstimator::kK1: return {-r, N() + 1.0};
    case KlEstimator::kK2: return {0.5 * r * r, -r};
    case KlEstimator::kK3: break;
  }
  const N e = Expm1(r);
  return {e - r, -e};
}

// One active token, before its weight and without the entropy bonus.
template <typename N>
struct TokenLoss {
  N term;
  N d_ratio;   // d term / d ratio
  N d_direct;  // d term / d logprob with the ratio held
  N kl;        // k3 to the reference, 0 without one
  N phi;       // kVespo, else 0
  MaskOf<N> clip_low, clip_high;
  N total;  // of inputs and results: finite only where all of them are, and the importance weight is not negative
};

// `terms` are read where NeedsSequence.
template <typename N>
PRL_HD TokenLoss<N> LossOfToken(const LossParams& p, const TokenInputs<N>& in, N ratio, const SequenceTerms& terms) {
  const bool vespo = p.surrogate == Surrogate::kVespo, by_entropy = p.min_entropy > -INFINITY,
             drifted = terms.drift > p.off_policy_threshold;
  const PolicyTerm<N> policy = SurrogateTerm(p, in.advantage, in.logprob, ratio, terms);

  TokenLoss<N> out;
  out.term = policy.term;
  out.d_ratio = policy.d_ratio;
  out.d_direct = policy.d_direct;
  if (in.has_importance || by_entropy || drifted) {
    N scale = vespo ? N() + 1.0 : in.importance;
    if (by_entropy) scale = in.entropy >= p.min_entropy ? scale : 0.0;
    if (drifted) scale = in.advantage >= 0.0 ? scale : 0.0;
    out.term *= scale;
    out.d_ratio *= scale;
    out.d_direct *= scale;
  }
  out.phi = vespo ? PhiOf(in.advantage, terms) : N();
  out.clip_low = policy.clip_low;
  out.clip_high = policy.clip_high;

  out.kl = N();
  if (in.has_ref) {
    const KlTerm<N> k3 = KlOf(KlEstimator::kK3, in.ref_ratio);
    out.kl = k3.kl;
    if (p.beta != 0.0) {
      const KlTerm<N> own = p.kl_estimator == KlEstimator::kK3 ? k3 : KlOf(p.kl_estimator, in.ref_ratio);
      const N beta = p.kl_ratio_correction ? p.beta * ratio : N() + p.beta;
      out.term += beta * own.kl;
      out.d_direct += beta * own.d_logprob;
      if (p.kl_ratio_correction) out.d_ratio += p.beta * own.kl;
    }
  }
  // A log-ratio of -inf hides behind a ratio of 0, an importance weight behind a token that is left out.
  out.total = in.logprob + in.log_ratio + in.advantage + ratio + out.term + out.d_direct + out.d_ratio;
  if (in.has_ref) out.total += in.ref_ratio + out.kl;
  if (in.has_entropy) out.total += in.entropy;
  if (in.has_importance) out.total += in.importance >= 0.0 ? in.importance : INFINITY;
  if (NeedsSequence(p)) out.total += terms.drift;
  return out;
}

template <typename N>
PRL_HD LossSumsOf<N> EmptySums() {
  LossSumsOf<N> s = {};
  s.ratio_max = N() - INFINITY;
  s.ratio_min = N() + INFINITY;
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

template <typename N>
PRL_HD void AddRatio(LossSumsOf<N>* sums, N ratio, MaskOf<N> active) {
  const N counted = active ? ratio : 0.0;
  sums->ratio += counted;
  sums->ratio_squared += counted * counted;
  sums->ratio_max = counted > sums->ratio_max ? counted : sums->ratio_max;  // a ratio is not below 0, and one is active
  const N least = active ? ratio : INFINITY;
  sums->ratio_min = least < sums->ratio_min ? least : sums->ratio_min;
}

template <typename N>
PRL_HD void AddOldKl(LossSumsOf<N>* sums, N log_ratio, N expm1_log_ratio) {
  sums->old_kl_k1 -= log_ratio;
  sums->old_kl_k3 += expm1_log_ratio - log_ratio;
}

// Whether a sequence is counted once: one ratio and one advantage, so what clips one of its tokens clips all.
PRL_HD bool CountsSequences(const LossParams& p, const LossBatch& batch) {
  return (p.ratio_level == RatioLevel::kSequence || p.surrogate == Surrogate::kVespo) && !batch.advantages_per_token;
}

// A token of weight w_i. Where it is inactive its kl and its entropy are 0 and nothing clips.
template <typename N>
PRL_HD void AddToken(LossSumsOf<N>* sums, const LossParams& p, const TokenInputs<N>& in, const TokenLoss<N>& token,
                     double weight, MaskOf<N> active) {
  N loss = weight * token.term;
  if (in.has_entropy) {
    loss += EntropyGradient(p) * in.entropy;
    sums->entropy += in.entropy;
  }
  if (in.has_ref) sums->kl += token.kl;
  if (p.surrogate == Surrogate::kVespo) sums->phi += active ? token.phi : 0.0;
  sums->loss += active ? loss : 0.0;
  sums->clip_low += token.clip_low ? 1.0 : 0.0;
  sums->clip_high += token.clip_high ? 1.0 : 0.0;
}

// What is counted once per sequence, after its tokens; at least one of them is active.
PRL_HD void CloseSequence(LossSums* sums, const LossParams& p, const LossBatch& batch, const SequenceTerms& terms,
                          double active) {
  const bool by_sequence = p.ratio_level == RatioLevel::kSequence, once = CountsSequences(p, batch);
  if (by_sequence) AddRatio(sums, terms.ratio, true);
  sums->tokens = active;
  sums->sequences = 1.0;
  sums->ratio_count = by_sequence ? 1.0 : active;
  sums->clip_count = once ? 1.0 : active;
  if (!once) return;
  sums->clip_low = sums->clip_low > 0.0 ? 1.0 : 0.0;
  sums->clip_high = sums->clip_high > 0.0 ? 1.0 : 0.0;
  sums->phi /= active;  // of as many equal ones
}

// The same for a part of a sequence with `active` of its active tokens, where there are several; `first` of those with
// any counts what is counted once.
PRL_HD void ClosePart(LossSums* sums, const LossParams& p, const LossBatch& batch, const SequenceTerms& terms,
                      double active, bool first) {
  if (first) return CloseSequence(sums, p, batch, terms, active);
  sums->tokens = active;
  sums->ratio_count = p.ratio_level == RatioLevel::kSequence ? 0.0 : active;
  sums->clip_count = active;
  if (CountsSequences(p, batch)) sums->clip_low = sums->clip_high = sums->phi = sums->clip_count = 0.0;
}

}  // namespace prl
