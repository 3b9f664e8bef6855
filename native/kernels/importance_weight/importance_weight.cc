#include "kernels/importance_weight/importance_weight.h"

#include "kernels/importance_weight/importance_weight_math.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

Status NotFinite(const char* name, int64_t t, float value) {
  return Error(Code::kNonFinite, "%s[%lld] is %g: what an active token brings must be finite", name, (long long)t,
               value);
}

void WeighSequence(const ImportanceWeightArgs& a, int64_t begin, int64_t end) {
  double sum = 0.0;
  for (int64_t t = begin; t < end; ++t) {
    if (a.level == WeightLevel::kSequence && TakesPart(a, t)) sum += LogWeight(a, t);
  }
  for (int64_t t = begin; t < end; ++t) {
    if (!TakesPart(a, t)) a.out[t] = 1.0f;
    else a.out[t] = BoundedWeight(a, a.level == WeightLevel::kSequence ? sum : LogWeight(a, t));
  }
}

}  // namespace

Status CheckImportanceWeight(const ImportanceWeightArgs& a) {
  if (!(a.clip_min >= 0 && std::isfinite(a.clip_min)))
    return Error(Code::kOutOfRange, "clipMin must be at least 0 and finite, not %g", a.clip_min);
  if (!(a.clip_max > a.clip_min))
    return Error(Code::kOutOfRange, "clipMax must be above clipMin, %g, not %g", a.clip_min, a.clip_max);
  return Ok();
}

Status ImportanceWeightCpu(const ImportanceWeightArgs& a) {
  PRL_RETURN_IF_ERROR(CheckImportanceWeight(a));
  // Before any arithmetic: at sequence level the culprit could not be told afterwards.
  for (int64_t t = 0; t < a.tokens; ++t) {
    if (!TakesPart(a, t)) continue;
    if (!std::isfinite(a.old_logprob[t])) return NotFinite("oldLogProbs", t, a.old_logprob[t]);
    if (!std::isfinite(a.rollout_logprob[t])) return NotFinite("rolloutLogProbs", t, a.rollout_logprob[t]);
  }
  const int64_t grain = 1 + 4096 * a.sequences / (a.tokens + 1);
  ParallelRows(a.sequences, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) WeighSequence(a, a.cu_seqlens[i], a.cu_seqlens[i + 1]);
  });
  for (int64_t t = 0; t < a.tokens; ++t) {
    if (!std::isfinite(a.out[t])) return NotFinite("importanceWeights", t, a.out[t]);
  }
  return Ok();
}

}  // namespace prl
