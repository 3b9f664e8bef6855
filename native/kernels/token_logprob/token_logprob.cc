// What the backends share before and after a kernel: checks and messages.
#include "kernels/token_logprob/token_logprob.h"

namespace prl {

Status CheckTargets(const int32_t* targets, const int32_t* mask, int64_t rows, int64_t vocab) {
  for (int64_t r = 0; r < rows; ++r) {
    if (mask && mask[r] == 0) continue;
    if (targets[r] < 0 || targets[r] >= vocab) {
      return TargetOutside(r, targets[r], vocab);
    }
  }
  return Ok();
}

Status TargetOutside(int64_t row, int32_t target, int64_t vocab) {
  return Error(Code::kOutOfRange, "targets[%lld] = %d is outside the vocabulary [0, %lld)", (long long)row, target,
               (long long)vocab);
}

Status BadRow(int64_t row, bool all_masked) {
  if (all_masked)
    return Error(Code::kNonFinite, "logits row %lld is all -inf: it has no log-probabilities", (long long)row);
  return Error(Code::kNonFinite, "logits row %lld holds a NaN or +inf", (long long)row);
}

Status CheckAlignment(const void* logits, const void* d_logits) {
  if ((reinterpret_cast<uintptr_t>(logits) - reinterpret_cast<uintptr_t>(d_logits)) % 16 == 0) return Ok();
  return Error(Code::kInvalidArgument, "the gradient must lie as far from a 16-byte boundary as the logits");
}

}  // namespace prl
