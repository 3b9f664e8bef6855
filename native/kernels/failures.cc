#include "kernels/failures.h"

#include <cmath>
#include <cstring>

#include "kernels/coherence/coherence.h"
#include "kernels/quantile_loss/quantile_loss.h"
#include "kernels/token_logprob/token_logprob.h"

namespace prl {

Status DescribeFailure(uint64_t failure, FailureBounds bounds) {
  const auto kind = static_cast<Failure>((failure >> 32) & ((1u << kFailureKindBits) - 1));
  const long long index = (long long)(failure >> (32 + kFailureKindBits));
  const uint32_t bits = (uint32_t)failure;
  int32_t integer;
  float real;
  memcpy(&integer, &bits, 4);
  memcpy(&real, &bits, 4);
  const auto non_finite = [&](const char* name, const char* why = "") {
    return Error(Code::kNonFinite, "%s[%lld] is %g%s", name, index, real, why);
  };
  const char* const active = ": what an active token brings must be finite";
  const auto offsets = [&](const char* name) {
    return Error(Code::kOutOfRange, "%s must rise from 0 to %lld; piece %lld ends at %d", name, (long long)bounds.total,
                 index, integer);
  };
  switch (kind) {
    case Failure::kOffsets: return offsets("cuSeqlens");
    case Failure::kStepOffsets: return offsets("cuSteps");
    case Failure::kScoreOffsets: return offsets("cuScores");
    case Failure::kTarget: return TargetOutside(index, integer, bounds.vocab);
    case Failure::kRowNonFinite: return BadRow(index, false);
    case Failure::kRowAllMasked: return BadRow(index, true);
    case Failure::kLogProb: return non_finite("logProbs", active);
    case Failure::kAdvantage: return non_finite("advantages", active);
    case Failure::kOldLogProb: return non_finite("oldLogProbs", active);
    case Failure::kRefLogProb: return non_finite("refLogProbs", active);
    case Failure::kImportanceWeight: return non_finite("importanceWeights", active);
    case Failure::kWeightNegative:
      return Error(Code::kOutOfRange, "importanceWeights[%lld] is %g: a weight must be at least 0", index, real);
    case Failure::kRolloutLogProb: return non_finite("rolloutLogProbs", active);
    case Failure::kEntropy: return non_finite("entropy", active);
    case Failure::kLossOverflow:
      return Error(Code::kNonFinite, "the loss of token %lld overflows: log-ratio %g to oldLogProbs", index, real);
    case Failure::kStepInside:
      return Error(Code::kOutOfRange,
                   "cuSteps must hold the start of every sequence, but cuSeqlens[%lld] = %d is inside a step", index,
                   integer);
    case Failure::kOutcome: return non_finite("outcomeAdvantages");
    case Failure::kAdvantageOverflow:
      return Error(Code::kNonFinite, "the advantage of token %lld overflows: its log-ratio old - ref is %g", index,
                   real);
    case Failure::kReward: return non_finite("rewards");
    case Failure::kScore: return non_finite("scores");
    case Failure::kStepScore: return ScoreOutside(index, real);
    case Failure::kQuantileValue: return BadQuantileValue(index, real);
    case Failure::kQuantileTarget: return BadQuantileTarget(index, real);
  }
  return Error(Code::kInternal, "unknown failure %llx", (unsigned long long)failure);
}

}  // namespace prl
