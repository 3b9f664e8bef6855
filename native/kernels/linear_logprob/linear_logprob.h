// CONTRACT of linear_logprob: hidden states x output head -> log-probabilities, or the policy loss and its gradients, with
// the logits made a chunk of tokens at a time and never stored whole.
//
//   logits[t] = hidden[t] . head^T           hidden [tokens, width] float32 row-major, head [vocab, width] float32
//   then exactly token_logprob / policy_loss on the chunk;   d_hidden = d_logits . head,   d_head += d_logits^T . hidden
//
// workspace: caller's float32 scratch, aligned to 8 bytes, of LinearWorkspaceFloats(...) floats or more; its size sets the
// chunk. Log-probabilities, the loss, d_hidden do not depend on the chunk; d_head is a sum over tokens, rounded chunk by chunk.
// d_head is ADDED to (micro-batches accumulate); d_hidden is written. On failure d_hidden and d_head hold garbage.
// Masked tokens: as policy_loss (log-probability, entropy and gradient 0, their targets are not looked at).
// Tokens without a gradient (masked, clipped, advantage 0) are left out of the gradient's matrix products.
// Sequence-level ratios need every log-probability of a sequence first: the chunks are then made twice, unless there is one.
#pragma once

#include "kernels/clipped_loss/clipped_loss.h"
#include "runtime/cpu/isa.h"
#include "runtime/status.h"

namespace prl {

struct LinearLogprobArgs {
  int64_t tokens, width, vocab;
  const float* hidden;
  const float* head;
  const int32_t* targets;  // [tokens] in [0, vocab)
  float temperature;
  float* logprob;          // [tokens]
  float* entropy;          // [tokens] or null
  float* workspace;
  int64_t workspace_floats;
};

struct LinearPolicyLossArgs {
  LinearLogprobArgs linear;  // logprob and entropy are outputs here too; both needed
  LossBatch batch;
  LossParams params;
  float* d_hidden;  // [tokens, width]
  float* d_head;    // [vocab, width], added to
  LossSums* sums;   // written
};

// Workspace for chunks of at most `chunk` tokens, `tokens` and `sequences` in all (0 sequences do for LinearLogprobCpu).
int64_t LinearWorkspaceFloats(int64_t tokens, int64_t sequences, int64_t width, int64_t vocab, int64_t chunk);

PRL_CPU_ENTRY(Status, LinearLogprobCpu, (const LinearLogprobArgs& args), (args))
PRL_CPU_ENTRY(Status, LinearPolicyLossCpu, (const LinearPolicyLossArgs& args), (args))

}  // namespace prl
