// The one-sweep inner loop at token level on the GPU: a row's statistics, its token's loss, its gradient from shared
// memory. Shared by policy_loss and linear_logprob, which makes the logits a chunk at a time:
//
//   CountTokens(batch, &params, call)               kernels/clipped_loss/clipped_loss_cuda.h
//   PrepareLossRows(...)                            once per call
//   SweepRowsCuda(rows, first, n, logits, ...)      for each chunk
//   ClippedLossCounted({... no gradient ...})       the loss and the metrics from the log-probabilities and entropies
#pragma once

#include "kernels/policy_loss/policy_loss.h"

namespace prl {

// What the loss of a token needs besides its row, in one piece: the block of a row waits for memory once.
struct alignas(16) TokenLine {
  double weight;  // of its sequence
  float advantage, old_logprob, ref_logprob, importance_weight;
  int32_t target, active;
};
inline int64_t TokenLinesFloats(int64_t tokens) { return tokens * (int64_t)(sizeof(TokenLine) / sizeof(float)); }

// Device pointers, of all tokens.
struct LossRows {
  LossParams params;  // after CountTokens
  bool has_old, has_ref;
  const TokenLine* lines;
  float* logprob;
  float* entropy;
  float* d_logprob;  // these two may be null
  float* d_entropy;
  float temperature;
  int64_t vocab, stride;
  DType dtype;
  int32_t* top1 = nullptr;  // as in token_logprob
};

Status PrepareLossRows(const LossBatch& batch, const LossParams& params, const int32_t* targets, TokenLine* lines,
                       const CudaCall& call);

// Rows of tokens first .. first + count - 1; `logits` and `d_logits` point at the first of them and may be the same.
// Rows without a gradient are filled with zeros. A gradient that is not finite is written as it is: ClippedLossCounted
// finds it and says so.
Status SweepRowsCuda(const LossRows& rows, int64_t first, int64_t count, const void* logits, void* d_logits,
                     const CudaCall& call);

}  // namespace prl
