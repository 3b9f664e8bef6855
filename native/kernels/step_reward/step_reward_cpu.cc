// Advantages where each token is a step: the one place of step_reward where arithmetic counts.
#include "kernels/step_reward/step_reward_math.h"
#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {

// From the last token to the first, a vector at a time. Its sums are taken apart from those of the tokens behind it, so
// that the one chain through the sequence is an addition per vector.
int64_t TokenAdvantagesCpu(const StepRewardArgs& a, int64_t i, double mean_future) {
  const int64_t begin = a.cu_seqlens[i], end = a.cu_seqlens[i + 1];
  const double outcome = (double)a.outcome[i];
  const VD lane = __builtin_convertvector(LanesFrom(0), VD);
  VD future = {};
  int64_t bad = INT64_MAX;
  for (int64_t after = end; after > begin;) {  // the first token of those behind
    const int n = after - begin < kDoubles ? (int)(after - begin) : kDoubles;
    const int64_t t = after - n;
    const bool whole = n == kDoubles;
    const VD old = whole ? LoadWide(a.old_logprob + t) : LoadWidePartial(a.old_logprob + t, n);
    const VD ref = whole ? LoadWide(a.ref_logprob + t) : LoadWidePartial(a.ref_logprob + t, n);
    const VD d = old - ref, sums = SuffixSums(FutureTerm(a.generator, d));  // the term of 0 is 0
    const VD advantage =
        StepAdvantage(a, outcome, d, future + ShiftDown<1>(sums), (double)(end - 1 - t) - lane, mean_future);
    const VD with_own = future + sums;
    future += FirstLane(sums);
    StoreFloats(a.out + t, n, ToFloats(advantage));
    const unsigned sound = LanesThatHold(IsFiniteFloat(advantage) && IsFinite(with_own)), all = (1u << n) - 1u;
    if (bad == INT64_MAX && (sound & all) != all) bad = t + 31 - __builtin_clz(~sound & all);
    after = t;
  }
  return bad;
}

}  // namespace PRL_ISA
}  // namespace prl
