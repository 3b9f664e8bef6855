// CONTRACT of linear_logprob: hidden states x output head -> log-probabilities, or the policy loss and its gradients,
// with the logits made a chunk of tokens at a time and never stored whole.
//
//   logits[t] = hidden[t] . head^T           hidden [tokens, width], head [vocab, width], row-major, both of one type:
//                                            float32 on the CPU, where head may be bfloat16 all the same; float32 |
//                                            bfloat16 | float16 on the GPU
//   then exactly token_logprob / policy_loss on the chunk; d_hidden = d_logits . head, d_head (+)= d_logits^T . hidden
//
// Logits and their gradient have the type of hidden, as has d_hidden; products are summed in float32, and d_head is
// float32. Log-probabilities, the loss and d_hidden do not depend on the chunk (on the GPU: but for roundings, since
// cuBLAS chooses its method by the sizes); d_head is a sum over tokens, rounded chunk by chunk. d_hidden is written;
// d_head is written, or added to (micro-batches accumulate). On failure d_hidden and d_head hold garbage.
// Masked tokens: as policy_loss (log-probability, entropy and gradient 0; their targets and hidden states are not
// looked at). Tokens without a gradient (masked, clipped, advantage 0) are left out of the gradient's matrix products
// on the CPU; on the GPU, where the host does not know them, their rows are zeros.
// Sequence-level ratios, kVespo and the off-policy mask need every log-probability of a sequence first: the chunks are
// then made twice, unless there is one.
#pragma once

#include "kernels/clipped_loss/clipped_loss.h"
#include "runtime/cpu/isa.h"
#include "runtime/cuda/entry.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace prl {

struct LinearLogprobArgs {
  int64_t tokens, width, vocab;
  DType dtype;
  const void* hidden;
  const void* head;
  const int32_t* targets;  // [tokens] in [0, vocab)
  const int32_t* mask;     // [tokens], 0: as in token_logprob; or null: none. LinearPolicyLoss takes that of its batch
  float temperature;
  float* logprob;           // [tokens]
  float* entropy;           // [tokens] or null
  int64_t chunk;            // at most so many tokens have their logits at once; 1 or more
  float* workspace;         // LinearWorkspaceFloats(...), aligned to 8 bytes; on the GPU it is the call's
  bool bf16_head = false;   // on the CPU: head is bfloat16
  int32_t* top1 = nullptr;  // [tokens] as in token_logprob, or null
};

struct LinearPolicyLossArgs {
  LinearLogprobArgs linear;  // logprob and entropy are outputs here too; both needed
  LossBatch batch;
  LossParams params;
  void* d_hidden;    // [tokens, width]
  float* d_head;     // [vocab, width]
  bool add_to_head;  // false: d_head is written
  LossSums* sums;    // written
};

// `tokens` and `sequences` in all (0 sequences do for LinearLogprobCpu).
int64_t LinearWorkspaceFloats(int64_t tokens, int64_t sequences, int64_t width, int64_t vocab, int64_t chunk);

PRL_CPU_ENTRY(Status, LinearLogprobCpu, (const LinearLogprobArgs& args), (args))
PRL_CPU_ENTRY(Status, LinearPolicyLossCpu, (const LinearPolicyLossArgs& args), (args))

// Device pointers; queued, not run, when they return. The matrix products are cuBLAS's (runtime/cuda/cublas.h). Targets
// and offsets are checked by the kernels; the sums go to the report's values, as those of ClippedLossCuda.
PRL_CUDA_ENTRY(LinearLogprobCuda, (const LinearLogprobArgs& args, const CudaCall& call))
PRL_CUDA_ENTRY(LinearPolicyLossCuda, (const LinearPolicyLossArgs& args, const CudaCall& call))

// How the GPU lays out the chunks. The logits of a token begin on a 128-byte boundary: matrix products of any
// vocabulary then load whole vectors.
struct LinearCudaLayout {
  int64_t rows;                                    // tokens of a chunk: nearly as many in each
  int64_t stride;                                  // elements from one token's logits to the next
  int64_t loss, per_token, logits, hidden, bytes;  // where they begin in the workspace, and its size
};
// `masked`: some tokens may be. 0 sequences do for LinearLogprobCuda.
LinearCudaLayout LayOutLinear(const LinearLogprobArgs& args, int64_t sequences, bool masked);
// Bytes of the logits of one token: what chunks are counted by.
int64_t LinearCudaRowBytes(int64_t vocab, DType dtype);

}  // namespace prl
