// CONTRACT of group_center: one number per response, centred over the responses to the same prompt.
//
// group_advantages, of group g with n responses, mean m, deviation s = sqrt(sum (r - m)^2 / (n - 1 or n)):
//   kScaled        (r - m) / (s + epsilon), s of the group or of the whole batch      GRPO, arXiv 2402.03300
//   kCentered      r - m                                                              Dr.GRPO, 2503.20783
//   kLeaveOneOut   r - mean of the others = n / (n - 1) (r - m)                       RLOO, 2402.14740
//   A group of one has no baseline: its response gets 0, or its own value with singleton_raw.
//
// outcome_conditioned_center (PROGRS, arXiv 2604.02341): the scores of a group's incorrect responses minus their own
// mean; those of the correct ones as they are, or minus their own mean.
//
// Sums run in the order of the responses in double: equal values have exactly their own mean, so they give exactly 0
// (the float32 mean of the published code does not: notes on a 1 ulp remainder divided by a deviation of the same
// size).
// `out` may be the input. A value that is not finite is named and nothing is written.
#pragma once

#include <cstdint>

#include "runtime/cuda/entry.h"
#include "runtime/status.h"

namespace prl {

// The numbers cross the boundary: add, never renumber.
enum class Centering : int32_t { kScaled = 0, kCentered = 1, kLeaveOneOut = 2 };

struct GroupAdvantageArgs {
  int64_t responses, groups;
  const float* rewards;  // [responses]
  const int32_t* group;  // [responses], each in [0, groups); members need not be adjacent
  Centering centering;
  bool population;       // deviation: divide by n, not n - 1
  bool batch_deviation;  // s over all rewards of the batch, around the batch's mean
  double epsilon;
  bool singleton_raw;
  double* workspace;  // 3 * groups
  float* out;         // [responses]
};

struct OutcomeCenterArgs {
  int64_t responses, groups;
  const float* scores;     // [responses]
  const int32_t* correct;  // [responses], not 0: correct
  const int32_t* group;    // [responses], each in [0, groups)
  bool center_correct;     // false: correct responses keep their scores
  double* workspace;       // 4 * groups
  float* out;              // [responses]
};

// A few numbers per response: compiled once, not per instruction set.
Status GroupAdvantageCpu(const GroupAdvantageArgs& args);
Status OutcomeCenterCpu(const OutcomeCenterArgs& args);

// Device pointers; queued, not run, when they return (runtime/cuda/queue.h). One launch. `group` holds any integers
// (equal: the same group): `groups` and `workspace` are not used. `out` is not the input; on a failure it holds
// garbage.
PRL_CUDA_ENTRY(GroupAdvantageCuda, (const GroupAdvantageArgs& args, const CudaCall& call))
PRL_CUDA_ENTRY(OutcomeCenterCuda, (const OutcomeCenterArgs& args, const CudaCall& call))

}  // namespace prl
