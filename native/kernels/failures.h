// What a kernel found wrong in memory of the GPU, where the host cannot look before the kernel runs: a kind, the index
// of the culprit and its value in one 64-bit word, so that "the first one" is one atomic minimum. The host turns it
// into the same Status that the CPU gives.
#pragma once

#include <cstdint>

#include "runtime/cuda/queue.h"
#include "runtime/hd.h"
#include "runtime/status.h"

namespace prl {

enum class Failure : uint32_t {
  kOffsets = 0,   // cuSeqlens
  kTarget,        // outside the vocabulary
  kRowNonFinite,  // NaN or +inf among the logits
  kRowAllMasked,  // every logit is -inf
  kLogProb,       // the inputs of an active token's loss
  kAdvantage,
  kOldLogProb,
  kRefLogProb,
  kImportanceWeight,
  kWeightNegative,
  kRolloutLogProb,
  kEntropy,
  kLossOverflow,       // finite inputs, but no finite loss; the value is the log-ratio
  kStepOffsets,        // cuSteps
  kStepInside,         // a sequence starts inside a step
  kOutcome,            // outcomeAdvantages
  kAdvantageOverflow,  // the value is the log-ratio old - ref
  kReward,
  kScore,
  kStepScore,
  kScoreOffsets,   // cuScores
  kQuantileValue,  // of a row; the index is the row's
  kQuantileTarget,
};

constexpr int kFailureKindBits = 5;

// Index in the high bits (27 of them: larger ones all read as the largest), then kind, then the value's bits.
PRL_HD unsigned long long PackFailure(Failure kind, int64_t index, uint32_t value_bits) {
  const int64_t most = ((int64_t)1 << (32 - kFailureKindBits)) - 2;
  const uint64_t place = (uint64_t)(index < most ? index : most);
  return (((place << kFailureKindBits) | (uint64_t)kind) << 32) | value_bits;
}

// What the values of kTarget and of the offsets are compared with; one number does where a kernel has only one of them.
struct FailureBounds {
  FailureBounds(int64_t bound) : vocab(bound), total(bound) {}
  FailureBounds(int64_t vocab, int64_t total) : vocab(vocab), total(total) {}
  int64_t vocab, total;
};
Status DescribeFailure(uint64_t failure, FailureBounds bounds);
// The same as the runtime takes it (CudaCall::End).
inline CudaDescribe DescribeWith(FailureBounds bounds) {
  return [bounds](uint64_t failure) { return DescribeFailure(failure, bounds); };
}

}  // namespace prl
