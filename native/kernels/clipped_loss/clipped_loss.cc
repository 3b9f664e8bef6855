// What the backends share before and after a kernel with a loss: checks and messages.
#include "kernels/clipped_loss/clipped_loss.h"

#include <cmath>

#include "kernels/clipped_loss/clipped_loss_math.h"

namespace prl {

Status CheckLoss(const LossBatch& batch, const LossParams& p) {
  if (!(p.norm_tokens >= 0 && std::isfinite(p.norm_tokens))) {
    return Error(Code::kOutOfRange, "normalizer.tokens must be at least 0 and finite, not %g", p.norm_tokens);
  }
  if (!(p.norm_sequences > 0 && std::isfinite(p.norm_sequences))) {
    return Error(Code::kOutOfRange, "normalizer.sequences must be above 0 and finite, not %g", p.norm_sequences);
  }
  if (p.beta != 0 && batch.tokens > 0 && !batch.ref_logprob) {
    return Error(Code::kInvalidArgument, "refLogProbs is needed when beta is not 0");
  }
  return Ok();
}

Status CheckClippedLoss(const ClippedLossArgs& args) {
  PRL_RETURN_IF_ERROR(CheckLoss(args.batch, args.params));
  if (args.entropy || args.batch.tokens == 0) return Ok();
  if (args.params.entropy_coef != 0.0)
    return Error(Code::kInvalidArgument, "entropy is needed when entropyCoef is not 0");
  if (args.params.min_entropy > -INFINITY)
    return Error(Code::kInvalidArgument, "entropy is needed when there is an entropyThreshold");
  return Ok();
}

LossParams Counted(const LossBatch& batch, LossParams params) {
  if (params.norm_tokens > 0) return params;
  int64_t active = 0;
  for (int64_t t = 0; t < batch.tokens; ++t) active += !batch.mask || batch.mask[t] != 0;
  params.norm_tokens = active > 0 ? (double)active : 1.0;
  return params;
}

Status BadLossToken(const ClippedLossArgs& args, int64_t token) {
  const LossBatch& batch = args.batch;
  int64_t sequence = 0;
  while (batch.cu_seqlens[sequence + 1] <= token) ++sequence;
  // Where the sequence enters, one bad token spoils the loss of all: the culprit may come later.
  const int64_t end = NeedsSequence(args.params) ? batch.cu_seqlens[sequence + 1] : token + 1;
  const auto advantage_at = [&](int64_t t) { return batch.advantages_per_token ? t : sequence; };
  for (int64_t t = token; t < end; ++t) {
    if (batch.mask && batch.mask[t] == 0) continue;
    const struct {
      const char* name;
      const float* values;
      int64_t index;
    } inputs[] = {{"logProbs", args.logprob, t},
                  {"advantages", batch.advantages, advantage_at(t)},
                  {"oldLogProbs", batch.old_logprob, t},
                  {"refLogProbs", batch.ref_logprob, t},
                  {"importanceWeights", batch.importance_weight, t},
                  {"rolloutLogProbs", batch.sampling_logprob, t},
                  {"entropy", args.entropy, t}};
    for (const auto& input : inputs) {
      if (input.values && !std::isfinite(input.values[input.index])) {
        return Error(Code::kNonFinite, "%s[%lld] is %g: what an active token brings must be finite", input.name,
                     (long long)input.index, input.values[input.index]);
      }
    }
    if (batch.importance_weight && batch.importance_weight[t] < 0) {
      return Error(Code::kOutOfRange, "importanceWeights[%lld] is %g: a weight must be at least 0", (long long)t,
                   batch.importance_weight[t]);
    }
  }
  return Error(Code::kNonFinite,
               "the loss of token %lld overflows: log-ratio %g to oldLogProbs, %g to refLogProbs, advantage %g",
               (long long)token, batch.old_logprob ? args.logprob[token] - batch.old_logprob[token] : 0.0f,
               batch.ref_logprob ? args.logprob[token] - batch.ref_logprob[token] : 0.0f,
               batch.advantages[advantage_at(token)]);
}

}  // namespace prl
