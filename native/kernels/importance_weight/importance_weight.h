// CONTRACT of importance_weight: log-probabilities of the trainer and of the engine that sampled -> a weight per token.
//
// The two differ for the same weights (other kernels, other types, a quantised or older copy): samples of one are then
// samples of another policy. The weights correct for it, with bounds, since their variance grows with the difference:
//
//   r_t = exp(old_t - rollout_t)                                  token level
//       = exp(sum of old - rollout over the active tokens)        sequence level, the same for each of its tokens
//   kTruncate  min(max(r, clip_min), clip_max)                    TIS, truncated importance sampling
//   kMask      r within [clip_min, clip_max], 0 outside         MIS, masked importance sampling (IcePop at token level)
//   as TRL's vllm_importance_sampling_mode has them.
//
// A masked token gets 1, whatever its inputs hold. Of an active token both inputs must be finite, and so must its
// weight (it may overflow where there is no clip_max): else kNonFinite, naming the token. `out` is then garbage.
// Sums are in double and in the order of the tokens (on the GPU in a fixed order): the same bits for any number of
// threads.
#pragma once

#include <cstdint>

#include "runtime/cuda/entry.h"
#include "runtime/status.h"

namespace prl {

// The numbers cross the boundary: add, never renumber.
enum class WeightLevel : int32_t { kToken = 0, kSequence = 1 };
enum class WeightBound : int32_t { kTruncate = 0, kMask = 1 };

struct ImportanceWeightArgs {
  int64_t tokens, sequences;
  const int32_t* cu_seqlens;     // [sequences + 1]
  const float* old_logprob;      // [tokens]
  const float* rollout_logprob;  // [tokens]
  const int32_t* mask;           // [tokens], 0: the token takes no part; or null: all do
  WeightLevel level;
  WeightBound bound;
  double clip_min, clip_max;  // 0 and infinity: no bound
  float* out;                 // [tokens]
};

Status CheckImportanceWeight(const ImportanceWeightArgs& args);

// A few numbers per token: compiled once, not per instruction set.
Status ImportanceWeightCpu(const ImportanceWeightArgs& args);

// Device pointers; queued, not run, when it returns (runtime/cuda/queue.h). One launch. The offsets are checked by the
// kernel.
PRL_CUDA_ENTRY(ImportanceWeightCuda, (const ImportanceWeightArgs& args, const CudaCall& call))

}  // namespace prl
