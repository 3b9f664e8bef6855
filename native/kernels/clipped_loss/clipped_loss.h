// CONTRACT of clipped_loss: log-probabilities -> clipped importance-sampling loss, its gradient, its metrics.
//
// Tokens are packed: sequence i owns tokens cu_seqlens[i] .. cu_seqlens[i+1]-1 (flash-attention's varlen convention).
//
//   log-ratio d_t = logprob_t - old_t (0 when old is null: on-policy, the ratio is 1 and the gradient flows through logprob)
//   rho_t = exp(d_t)                               token level
//         = exp(mean of d over active tokens)      sequence level (GSPO, arXiv 2507.18071), the same for each of its tokens
//   term_t = -min( min(rho, delta) A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A )        (PPO; delta: two-sided)
//            + beta * kl_t [* rho_t]               kl_t = exp(ref - logprob) - (ref - logprob) - 1     (k3, Schulman 2020)
//   loss = sum_i w_i sum_{active t in i} term_t  -  entropy_coef * sum_{active t} entropy_t / normalizer.tokens
//   with w_i from the aggregation and the normalizer; the entropy bonus is a mean over tokens whatever the aggregation (TRL)
//
// At a clip boundary the gradient passes; at a tie of the min each side gives half, so that on-policy it is whole.
// The normalizer is that of the whole optimizer batch, so that micro-batches add up to the batch's loss and gradient.
//
// A masked token contributes exactly 0 and gets gradient 0, whatever its inputs hold (NaN too: they are not read).
// Of an active token every input must be finite, and so must its term and its gradient: else kNonFinite, naming the token.
// The log-ratio is not clamped (as in TRL; verl clamps it to 20, which stops the gradient of the tokens that need it most):
// only a log-ratio above 80 or so can overflow, and that says the old log-probabilities are of another policy.
// Per-token arithmetic is in double: it is nothing beside the row of logits behind the token, and k3 cancels.
// Sums run over the tokens of a sequence, then over sequences, in order: the same bits for any number of threads.
#pragma once

#include "runtime/cpu/isa.h"
#include "runtime/cuda/entry.h"
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
  double epsilon_low, epsilon_high;
  double delta;              // infinity: no second side
  double beta;               // 0: no KL term; ref is then only measured
  bool kl_ratio_correction;  // the KL term times the ratio, with gradient through both (TRL's use_bias_correction_kl)
  double entropy_coef;       // 0: no entropy term
  double norm_tokens;        // active tokens of the optimizer batch; 0: those of this call, counted by the kernel (1 if none)
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
  double ratio_max, ratio_min;        // combined by max and min, not by sum; -inf and +inf when there is none
  double ratio_count;                 // how many: active tokens, or sequences with one
  double clip_low, clip_high;         // counts: A < 0 and ratio < 1 - epsilon_low; A > 0 and min(ratio, delta) > 1 + epsilon_high
  double clip_count;                  // of how many: sequences at sequence level with one advantage each, else active tokens
};

// Scratch of one sequence. `weight` is w_i; bad_token is the first token without a finite loss, or -1.
struct SequenceState {
  double weight, active;
  int64_t bad_token;
  LossSums sums;
};
// Scratch for `sequences` sequences, in floats; it must be aligned to 8 bytes.
inline int64_t LossWorkspaceFloats(int64_t sequences) { return sequences * (int64_t)(sizeof(SequenceState) / sizeof(float)); }

struct ClippedLossArgs {
  LossBatch batch;
  LossParams params;
  const float* logprob;  // [tokens]
  const float* entropy;  // [tokens] or null; needed when entropy_coef != 0
  float* workspace;      // LossWorkspaceFloats(sequences)
  float* d_logprob;      // [tokens] or null; garbage on failure
  float* d_entropy;      // [tokens] or null; garbage on failure
  LossSums* sums;        // written on success
};

// What a batch and its parameters must satisfy besides sizes; checked by every kernel with a loss.
Status CheckLoss(const LossBatch& batch, const LossParams& params);
Status CheckClippedLoss(const ClippedLossArgs& args);
// The parameters with norm_tokens counted when it is 0; on the CPU.
LossParams Counted(const LossBatch& batch, LossParams params);
// The message for an active token without a finite loss.
Status BadLossToken(const ClippedLossArgs& args, int64_t token);

PRL_CPU_ENTRY(Status, ClippedLossCpu, (const ClippedLossArgs& args), (args))

// Device pointers; queued, not run, when it returns. The offsets are checked by the kernel. The sums go to the report's values, in
// the order of LossSums; args.sums is not used.
PRL_CUDA_ENTRY(ClippedLossCuda, (const ClippedLossArgs& args, const CudaCall& call))

}  // namespace prl
