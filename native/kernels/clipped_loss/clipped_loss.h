// CONTRACT of clipped_loss: log-probabilities -> importance-sampling policy loss, its gradient, its metrics.
//
// Tokens are packed: sequence i owns tokens cu_seqlens[i] .. cu_seqlens[i+1]-1 (flash-attention's varlen convention).
//
//   log-ratio d_t = logprob_t - old_t          0 when old is null: on-policy, the ratio is 1, its gradient logprob's
//   rho_t = exp(d_t)                               token level
//         = exp(mean of d over active tokens)      sequence level (GSPO, arXiv 2507.18071), one for all of its tokens
//   term_t = keep_t * importance_weight_t * surrogate_t  +  beta * kl_t [* rho_t]
//
//   surrogate, with [x] for a factor that is a constant to the gradient:
//     kClipped  -min( min(rho, delta) A, clip(rho, 1 - epsilon_low, 1 + epsilon_high) A )    PPO, 1707.06347
//               delta: the second side of two-sided clipping
//     kCispo    -[min(rho, epsilon_high)] A logprob                                           MiniMax-M1, 2506.13585
//     kSapo     -4 / tau * sigmoid(tau (rho - 1)) A,  tau by A > 0                            SAPO, 2511.20347
//     kVespo    -[phi(w)] A logprob,  phi(w) = exp(lambda + k log w - lambda w), (k, lambda) by A >= 0, w the product
//               of the sequence's ratios and importance weights                               VESPO, 2602.10693
//     kRaft     -A logprob                                                                    RAFT, 2304.06767
//   with r = ref_t - logprob_t,  kl_t = -r (k1) | r^2 / 2 (k2) | exp(r) - r - 1 (k3)          Schulman 2020
//   importance_weight_t corrects for the engine that sampled (kernels/importance_weight); kVespo has it in w instead
//   keep_t = 0 where entropy_t < min_entropy (high-entropy tokens only, 2506.01939), or where A < 0 and the mean of
//            sampling - logprob over the sequence is above off_policy_threshold (DeepSeek-V3.2, 2512.02556); else 1.
//            Such a token keeps its KL and its place in the divisors.
//   loss = sum_i w_i sum_{active t in i} term_t  -  entropy_coef * sum_{active t} entropy_t / normalizer.tokens
//   with w_i from the aggregation and the normalizer; the entropy bonus is a mean over tokens with any of them (TRL)
//
// At a clip boundary the gradient passes; at a tie of the min each side gives half, so that on-policy it is whole.
// The normalizer is that of the whole optimizer batch, so that micro-batches add up to the batch's loss and gradient.
//
// A masked token contributes exactly 0 and gets gradient 0, whatever its inputs hold (NaN too: they are not read).
// Of an active token every input must be finite, and so must its term and its gradient: else kNonFinite, naming the
// token. The log-ratio is not clamped (as in TRL; verl clamps it to 20, which stops the gradient of the tokens that
// need it most): only a log-ratio above 80 or so can overflow, and that says the old log-probabilities are of another
// policy.
// Per-token arithmetic is in double: it is nothing beside the row of logits behind the token, and k3 cancels.
// Sums run over the tokens of a sequence, lane by lane, then over its lanes, then over sequences: the same bits for any
// number of threads.
#pragma once

#include "kernels/sequence_parts.h"
#include "runtime/cpu/isa.h"
#include "runtime/cuda/entry.h"
#include "runtime/status.h"

namespace prl {

// The numbers are places in the lists of lib/kernels/loss-table.ts: add at the end of both, never renumber.
enum class RatioLevel : int32_t { kToken = 0, kSequence, kLast = kSequence };
enum class Aggregation : int32_t {
  kTokenMean = 0,             // w = 1 / normalizer.tokens                      dapo, bnpo
  kSequenceMeanTokenMean,     // w_i = 1 / (normalizer.sequences * active_i)    grpo
  kSequenceMeanTokenSum,      // w = 1 / normalizer.sequences                   luspo
  kSequenceMeanTokenSumNorm,  // w = 1 / (normalizer.sequences * max_length)  dr_grpo
  kLast = kSequenceMeanTokenSumNorm
};

enum class Surrogate : int32_t { kClipped = 0, kCispo, kSapo, kVespo, kRaft, kLast = kRaft };
enum class KlEstimator : int32_t { kK1 = 0, kK2, kK3, kLast = kK3 };

// Every parameter: type, member, name in JavaScript. The struct and the binding follow from this list.
// lib/kernels/loss-table.ts has the meaning, default and bounds of each and checks them; here a value out of bounds
// gives a wrong number, never a wrong access. Infinity stands for "none": no second side (delta), no sequence left out
// (off_policy_threshold), no token left out (-infinity, min_entropy). norm_tokens and norm_sequences are the size of
// the optimizer batch; with norm_tokens 0 the kernel counts the active tokens of this call (1 if none). With beta 0
// there is no KL term, and ref is only measured.
#define PRL_LOSS_PARAMS(X)                                  \
  X(Surrogate, surrogate, "surrogate")                      \
  X(Aggregation, aggregation, "aggregation")                \
  X(RatioLevel, ratio_level, "importanceSamplingLevel")     \
  X(double, epsilon_low, "epsilon")                         \
  X(double, epsilon_high, "epsilonHigh")                    \
  X(double, delta, "delta")                                 \
  X(double, sapo_temperature_pos, "sapoTemperaturePos")     \
  X(double, sapo_temperature_neg, "sapoTemperatureNeg")     \
  X(double, vespo_k_pos, "vespoKPos")                       \
  X(double, vespo_lambda_pos, "vespoLambdaPos")             \
  X(double, vespo_k_neg, "vespoKNeg")                       \
  X(double, vespo_lambda_neg, "vespoLambdaNeg")             \
  X(double, beta, "beta")                                   \
  X(KlEstimator, kl_estimator, "klEstimator")               \
  X(bool, kl_ratio_correction, "klRatioCorrection")         \
  X(double, entropy_coef, "entropyCoef")                    \
  X(double, min_entropy, "entropyThreshold")                \
  X(double, off_policy_threshold, "offPolicyMaskThreshold") \
  X(double, max_length, "maxCompletionLength")              \
  X(double, norm_tokens, "normTokens")                      \
  X(double, norm_sequences, "normSequences")

struct LossParams {
#define PRL_MEMBER(type, member, name) type member;
  PRL_LOSS_PARAMS(PRL_MEMBER)
#undef PRL_MEMBER
};

// What the tokens of a batch bring besides their log-probabilities. Checked by the caller: offsets rise from 0 to
// tokens.
struct LossBatch {
  int64_t tokens, sequences;
  const int32_t* cu_seqlens;  // [sequences + 1]
  const float* advantages;    // [tokens] or [sequences]
  bool advantages_per_token;
  const float* old_logprob;        // [tokens] or null: on-policy
  const float* ref_logprob;        // [tokens] or null; needed when beta != 0
  const float* importance_weight;  // [tokens], 0 or more; or null: 1
  const float* sampling_logprob;   // [tokens], the off-policy mask's; or null: old_logprob
  const int32_t* mask;             // [tokens], 0: the token takes no part; or null: all do
};

// Plain sums, so that micro-batches add. lib/ turns them into the means that it reports. N: double, or a vector of them
// within a sequence (runtime/number.h).
template <typename N>
struct LossSumsOf {
  N loss;                  // already weighted: the loss itself
  N tokens, sequences;     // active tokens; sequences with at least one
  N entropy;               // over active tokens
  N kl;                    // k3 to the reference, over active tokens (0 without a reference)
  N old_kl_k1, old_kl_k3;  // approximate KL to the old policy, over active tokens
  N ratio, ratio_squared;  // over active tokens (token level) or sequences (sequence level)
  N ratio_max, ratio_min;  // combined by max and min, not by sum; -inf and +inf when there is none
  N ratio_count;           // how many: active tokens, or sequences with one
  // Counts: A < 0 and ratio < 1 - epsilon_low; A > 0 and min(ratio, delta) > 1 + epsilon_high
  N clip_low, clip_high;
  // (kCispo: > epsilon_high)
  N phi;  // kVespo: sum of the weights
  // Of how many, both: sequences where the loss is at sequence level with one advantage each,
  N clip_count;
  // else active tokens
};
using LossSums = LossSumsOf<double>;

// Scratch of one sequence. `weight` is w_i; bad_token is the first token without a finite loss, or -1.
struct SequenceState {
  double weight, active;
  int64_t bad_token;
  LossSums sums;
};
// Scratch for `sequences` sequences, in floats; it must be aligned to 8 bytes.
// In whole 16 bytes: policy_loss_cuda.cu has its lines of 16 behind it on the GPU.
inline int64_t LossWorkspaceFloats(int64_t sequences) {
  return (sequences * (int64_t)(sizeof(SequenceState) / sizeof(float)) + 3) / 4 * 4;
}

// Scratch of a part of a sequence on the GPU.
struct LossPart {
  double active, log_ratio, log_weight, drift;  // sums over its active tokens
  double through_ratio;                         // d loss / d ratio of the sequence, its tokens' share
  int64_t after_failure;                        // of the first part: the call had failed before its sums were known
  LossSums sums;
  uint64_t failure;  // kernels/failures.h
};
// What the loss takes at the start of the workspace on the GPU, in floats; in whole 16 bytes too.
inline int64_t LossCudaWorkspaceFloats(int64_t tokens, int64_t sequences) {
  const int64_t parts = SequenceParts(tokens, sequences);
  if (parts == 0) return LossWorkspaceFloats(sequences);
  return (parts * (int64_t)(sizeof(LossPart) / sizeof(float)) + 3) / 4 * 4;
}

struct ClippedLossArgs {
  LossBatch batch;
  LossParams params;
  const float* logprob;  // [tokens]
  const float* entropy;  // [tokens] or null; needed when entropy_coef != 0 or there is a min_entropy
  float* workspace;      // LossWorkspaceFloats(sequences); on the GPU LossCudaWorkspaceFloats(tokens, sequences)
  float* d_logprob;      // [tokens] or null, overlaps no input; garbage on failure
  float* d_entropy;      // [tokens] or null; garbage on failure
  LossSums* sums;        // written on success
};

// What a batch and its parameters must satisfy together; checked by every kernel with a loss.
Status CheckLoss(const LossBatch& batch, const LossParams& params);
Status CheckClippedLoss(const ClippedLossArgs& args);
// The parameters with norm_tokens counted when it is 0; on the CPU.
LossParams Counted(const LossBatch& batch, LossParams params);
// The message for an active token without a finite loss.
Status BadLossToken(const ClippedLossArgs& args, int64_t token);

PRL_CPU_ENTRY(Status, ClippedLossCpu, (const ClippedLossArgs& args), (args))

// Device pointers; queued, not run, when it returns. The offsets are checked by the kernel. The sums go to the report's
// values, in the order of LossSums; args.sums is not used. Few long sequences are spread over several blocks
// (kernels/sequence_parts.h): their sums then run over the tokens of a part, over parts, over sequences.
PRL_CUDA_ENTRY(ClippedLossCuda, (const ClippedLossArgs& args, const CudaCall& call))

}  // namespace prl
