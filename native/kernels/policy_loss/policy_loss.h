// CONTRACT of policy_loss: logits -> clipped importance-sampling loss and its gradient in the logits, in one sweep.
//
//   logprob, entropy from each row as token_logprob gives them; loss and d_logprob, d_entropy as clipped_loss
//   gives them; d logits as token_logprob's backward gives them.
//
//   logits    as in token_logprob; rows of masked tokens are not read: their logprob, entropy and gradient are 0
//   d_logits  of the dtype and stride of the logits, or the logits themselves; null: no gradient. Garbage on failure.
//
// Where the gradient of a row needs nothing but the row, it is read from memory once, and written while it is in cache.
// A row without a gradient (clipped, or advantage 0) is zero-filled and not looked at again.
// Where a row's gradient needs its whole sequence (sequence-level ratio, kVespo, the off-policy mask), the rows are
// read twice.
#pragma once

#include "kernels/clipped_loss/clipped_loss.h"
#include "kernels/token_logprob/token_logprob.h"

namespace prl {

struct PolicyLossArgs {
  TokenLogprobArgs logits;  // logprob and entropy are both written; lse may be null; its mask is the batch's
  LossBatch batch;
  LossParams params;
  void* d_logits;
  float* workspace;  // PolicyLossWorkspaceFloats(tokens, sequences), aligned to 8 bytes
  LossSums* sums;    // written on success
};

inline int64_t PolicyLossWorkspaceFloats(int64_t tokens, int64_t sequences) {
  return LossWorkspaceFloats(sequences) + 2 * tokens;
}

PRL_CPU_ENTRY(Status, PolicyLossCpu, (const PolicyLossArgs& args), (args))

// Device pointers; queued, not run, when it returns. Targets and offsets are checked by the kernels; the sums go to the
// report's values, as those of ClippedLossCuda. workspace: PolicyLossCudaWorkspaceFloats(tokens, sequences), aligned to
// 16 bytes.
PRL_CUDA_ENTRY(PolicyLossCuda, (const PolicyLossArgs& args, const CudaCall& call))
inline int64_t PolicyLossCudaWorkspaceFloats(int64_t tokens, int64_t sequences) {
  return LossCudaWorkspaceFloats(tokens, sequences) + 8 * tokens;
}

}  // namespace prl
