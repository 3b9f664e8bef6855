// CONTRACT of clipped_loss: log-probabilities -> clipped importance-sampling loss, its gradient, its metrics.
//
// Tokens are packed: sequence i owns tokens cu_seqlens[i] .. cu_seqlens[i+1]-1 (flash-attention's varlen convention).
//
//   log-ratio d_t = logprob_t - old_t (0 when old is null: on-policy, the ratio is 1 and the gradient flows through logprob)
//   rho_t = exp(d_t)                               token level
//         = exp(mean of d over active tokens)      sequence level (GSPO, arXiv 2507.18071), the same for each of its tokens
//   term_t = -min( min(rho, delta) A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A )        (PPO; delta: two-sided)
//            + beta * kl_t [* rho_t]               kl_t = exp(ref - logprob) - (ref - logprob) - 1     (k3, Schulman 2020)
//            - entropy_coef * entropy_t
//   loss = sum_i w_i sum_{active t in i} term_t,   w_i from the aggregation and the normalizer
//
// At a clip boundary the gradient passes; at a tie of the min each side gives half, so that on-policy it is whole.
// The normalizer is that of the whole optimizer batch, so that micro-batches add up to the batch's loss and gradient.
#pragma once

#include "runtime/cpu/isa.h"
#include "runtime/status.h"

namespace prl {

// The numbers cross the boundary: add, never renumber.
enum class RatioLevel : int32_t { kToken = 0, kSequence = 1 };
enum class Aggregation : int32_t {
  kTokenMean = 0,           // w = 1 / normalizer.tokens                      dapo, bnpo
  kSequenceMeanTokenMean,   // w_i = 1 / (normalizer.sequences * active_i)    grpo
  kSequenceMeanTokenSum,    // w = 1 / normalizer.sequences                   luspo
  kSequenceMeanTokenSumNorm // w = 1 / (normalizer.sequences * max_length)    dr_grpo
};

struct LossParams {
  RatioLevel ratio_level;
  Aggregation aggregation;
  float epsilon_low, epsilon_high;
  float delta;               // infinity: no second side
  float beta;                // 0: no KL term; ref is then only measured
  bool kl_ratio_correction;  // the KL term times the ratio, with gradient through both (TRL's use_bias_correction_kl)
  float entropy_coef;        // 0: no entropy term
  double norm_tokens;        // active tokens of the optimizer batch
  double norm_sequences;     // sequences of the optimizer batch
  double max_length;         // kSequenceMeanTokenSumNorm only
};

// What the tokens of a batch bring besides their log-probabilities. Checked by the caller: offsets rise from 0 to tokens.
struct LossBatch {
  int64_t tokens, sequences;
  const int32_t* cu_seqlens;    // [sequences + 1]
  const float* advantages;      // [tokens] or [sequences]
  bool advantages_per_token;
  const float* old_logprob;     // [tokens] or null: on-policy
  const float* ref_logprob;     // [tokens] or null; needed when beta != 0
  const int32_t* mask;          // [tokens], 0: the token takes no part; or null: all do
};

// Plain sums, so that micro-batches add. lib/ turns them into the means that it reports.
struct LossSums {
  double loss;                        // already weighted: the loss itself
  double tokens, sequences;           // active tokens; sequences with at least one
  double entropy;                     // over active tokens
  double kl;                          // k3 to the reference, over active tokens (0 without a reference)
  double old_kl_k1, old_kl_k3;        // approximate KL to the old policy, over active tokens
  double ratio, ratio_squared;        // over active tokens (token level) or sequences (sequence level)
  double ratio_max, ratio_min;        // combined by max and min, not by sum
  double clip_low, clip_high;         // counts: A < 0 and ratio < 1 - epsilon_low; A > 0 and ratio > 1 + epsilon_high
  double ratio_count;                 // what to divide ratio and the clip counts by
};

}  // namespace prl
