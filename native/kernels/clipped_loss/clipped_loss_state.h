// The weights of the sequences, before any token. Shared by the CPU skeletons of clipped_loss, policy_loss and
// linear_logprob.
#pragma once

#include "kernels/clipped_loss/clipped_loss_math.h"
#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {

static inline SequenceState* PrepareSequences(const LossBatch& batch, const LossParams& params, float* workspace) {
  SequenceState* state = reinterpret_cast<SequenceState*>(workspace);
  for (int64_t i = 0; i < batch.sequences; ++i) {
    const int64_t begin = batch.cu_seqlens[i], end = batch.cu_seqlens[i + 1];
    int64_t active = end - begin;
    if (batch.mask) {
      active = 0;
      for (int64_t t = begin; t < end; ++t) active += batch.mask[t] != 0;
    }
    state[i].active = (double)active;
    state[i].weight = active ? WeightOfSequence(params, (double)active) : 0.0;
    state[i].bad_token = -1;
  }
  return state;
}

}  // namespace PRL_ISA
}  // namespace prl
