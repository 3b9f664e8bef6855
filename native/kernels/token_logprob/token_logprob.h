// CONTRACT of token_logprob: logits -> log-probability, entropy and log-sum-exp of each row; and back.
//
//   z = logits / temperature            m = max(z)            lse = m + log(sum exp(z - m))
//   logprob[t] = z[target[t]] - lse     entropy[t] = lse - sum_j softmax(z)_j z_j      (nats)
//
//   d logits[t][j] = (1 / temperature) * (d logprob[t] * (1[j = target] - p_j) - d entropy[t] p_j (log p_j + entropy))
//
//   logits   [rows, vocab] float32 | bfloat16 | float16, row r at logits + r * stride (stride >= vocab, in elements)
//   targets  [rows] int32, each in [0, vocab)
//   logprob, entropy, lse  [rows] float32; any may be null
//   top1     [rows] int32 or null: 1 where no logit of the row is above the target's, else 0
//   mask     [rows] int32 or null: a row with 0 takes no part. It is not read, its target may be anything
//            (Hugging Face's -100), its outputs and its gradient are 0.
//
// Arithmetic is float32 whatever the storage; a row is read from memory once (online maximum and sum); offsets are
// 64-bit.
// A logit of -inf is legal (a masked symbol): probability 0, gradient 0; a target there has log-probability -inf.
// Failures name the first row: a target outside [0, vocab), a row that is all -inf, a NaN or +inf logit.
// Rows are independent: results do not depend on the number of threads nor on the other rows. On the GPU the order of a
// row's sums follows its place relative to a 16-byte boundary: the same row gives the same bits where it lies alike.
#pragma once

#include "runtime/cpu/isa.h"
#include "runtime/cuda/entry.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace prl {

struct TokenLogprobArgs {
  int64_t rows, vocab, stride;
  DType dtype;
  const void* logits;
  const int32_t* targets;
  float temperature;  // > 0
  float* logprob;
  float* entropy;
  float* lse;
  const int32_t* mask;
  int64_t first_row;  // the number of row 0 in messages, when the rows are a piece of something
  int32_t* top1 = nullptr;
};

// The backward pass reads a row once more (it is then in cache for the second look) and needs nothing saved.
// Rows whose d_logprob and d_entropy are 0 are zero-filled without being read. d_logits may be the logits themselves;
// on failure it then holds garbage. d_logits has the dtype and the stride of the logits.
struct TokenLogprobBackwardArgs {
  TokenLogprobArgs forward;  // its outputs are ignored
  const float* d_logprob;    // [rows]
  const float* d_entropy;    // [rows] or null
  void* d_logits;            // [rows, vocab]
};

// What both backends and all kernels built on this one check before they touch memory; `mask` may be null.
Status CheckTargets(const int32_t* targets, const int32_t* mask, int64_t rows, int64_t vocab);
Status TargetOutside(int64_t row, int32_t target, int64_t vocab);
// The message for a row that has no log-softmax; `all_masked`: every logit is -inf.
Status BadRow(int64_t row, bool all_masked);

PRL_CPU_ENTRY(Status, TokenLogprobCpu, (const TokenLogprobArgs& args), (args))
PRL_CPU_ENTRY(Status, TokenLogprobBackwardCpu, (const TokenLogprobBackwardArgs& args), (args))

// Device pointers; queued, not run, when they return (runtime/cuda/queue.h). Targets are checked by the kernel: of
// a row whose target is outside the vocabulary nothing is written.
PRL_CUDA_ENTRY(TokenLogprobCuda, (const TokenLogprobArgs& args, const CudaCall& call))
// A gradient in another tensor must lie as the logits do from a 16-byte boundary on.
Status CheckAlignment(const void* logits, const void* d_logits);
PRL_CUDA_ENTRY(TokenLogprobBackwardCuda, (const TokenLogprobBackwardArgs& args, const CudaCall& call))

}  // namespace prl
