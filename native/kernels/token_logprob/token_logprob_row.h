// One row on one core: statistics, and the gradient. Shared by the CPU skeletons of token_logprob, policy_loss and
// linear_logprob, so that there is one softmax in the project.
#pragma once

#include "kernels/token_logprob/token_logprob.h"
#include "kernels/token_logprob/token_logprob_math.h"
#include "runtime/cpu/simd.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {

// A piece of a row that stays in the first-level cache between the two looks at it (maximum, then sums).
constexpr int64_t kRowBlock = 2048;

template <typename T>
static inline RowStats StatsOfRow(const T* row, int64_t vocab, float inv_temperature) {
  RowStats total = EmptyStats();
  const VF scale = Splat(inv_temperature), none = Splat(-__builtin_inff()), floor = Splat(-3.0e38f);
  for (int64_t begin = 0; begin < vocab; begin += kRowBlock) {
    const int64_t n = vocab - begin < kRowBlock ? vocab - begin : kRowBlock;
    const T* p = row + begin;
    const int64_t whole = n - n % kLanes;
    const VF tail = whole < n ? LoadPartial(p + whole, (int)(n - whole), -__builtin_inff()) : none;
    VF m0 = tail, m1 = none, m2 = none, m3 = none;
    int64_t i = 0;
    for (; i + 4 * kLanes <= whole; i += 4 * kLanes) {
      m0 = Max(Load(p + i), m0);
      m1 = Max(Load(p + i + kLanes), m1);
      m2 = Max(Load(p + i + 2 * kLanes), m2);
      m3 = Max(Load(p + i + 3 * kLanes), m3);
    }
    for (; i < whole; i += kLanes) m0 = Max(Load(p + i), m0);
    const float block_max = ReduceMax(Max(Max(m0, m1), Max(m2, m3)));
    if (block_max > total.max) total = Rebase(total, block_max, inv_temperature);
    // Nothing but -inf (or NaN) yet: measured against 0, so that e^-inf is 0 and a NaN still shows in the sum.
    const VF max = Splat(total.max > -__builtin_inff() ? total.max : 0.0f);
    VF sum0{}, sum1{}, weighted0{}, weighted1{};
    for (i = 0; i + 2 * kLanes <= whole; i += 2 * kLanes) {
      const VF x0 = (Load(p + i) - max) * scale, x1 = (Load(p + i + kLanes) - max) * scale;
      const VF e0 = ExpNonPositive(x0), e1 = ExpNonPositive(x1);
      sum0 += e0;
      sum1 += e1;
      weighted0 += e0 * Max(floor, x0);
      weighted1 += e1 * Max(floor, x1);
    }
    if (i < whole) {
      const VF x = (Load(p + i) - max) * scale, e = ExpNonPositive(x);
      sum0 += e;
      weighted0 += e * Max(floor, x);
    }
    if (whole < n) {
      const VF x = (tail - max) * scale, e = ExpNonPositive(x);
      sum1 += e;
      weighted1 += e * Max(floor, x);
    }
    total.sum += (double)ReduceAdd(sum0 + sum1);
    total.weighted += (double)ReduceAdd(weighted0 + weighted1);
  }
  return total;
}

// Writes d logits of a row whose statistics are known; `out` may be `row`.
template <typename T>
static inline void GradientOfRow(const T* row, T* out, int64_t vocab, int32_t target, RowStats stats, RowResult result,
                                 float d_logprob, float d_entropy, float inv_temperature) {
  const RowGradient g = GradientOf(d_logprob, d_entropy, result.entropy, inv_temperature);
  const float at_target = d_logprob * inv_temperature;
  const float target_x = (ToFloat(row[target]) - stats.max) * inv_temperature - result.log_sum;
  const float target_p = (float)exp((double)target_x);
  const VF max = Splat(stats.max), scale = Splat(inv_temperature), log_sum = Splat(result.log_sum), a = Splat(g.a), b = Splat(g.b);
  const VF floor = Splat(-3.0e38f);
  const int64_t whole = vocab - vocab % kLanes;
  if (d_entropy == 0.0f) {
    for (int64_t i = 0; i < whole; i += kLanes) {
      Store(out + i, ExpNonPositive((Load(row + i) - max) * scale - log_sum) * a);
    }
  } else {
    for (int64_t i = 0; i < whole; i += kLanes) {
      const VF log_p = (Load(row + i) - max) * scale - log_sum;
      Store(out + i, ExpNonPositive(log_p) * (a + b * Max(floor, log_p)));
    }
  }
  if (whole < vocab) {
    const int n = (int)(vocab - whole);
    const VF log_p = (LoadPartial(row + whole, n, -__builtin_inff()) - max) * scale - log_sum;
    StorePartial(out + whole, n, ExpNonPositive(log_p) * (a + b * Max(floor, log_p)));
  }
  // The target last, from its own value: its two terms in float32, rounded to the storage type once.
  const float log_p = target_x > -3.0e38f ? target_x : -3.0e38f;
  FromFloat(target_p * (g.a + g.b * log_p) + at_target, out + target);
}

// A piece of work is at least about 256 kB of logits, so that short rows are not handed out one by one.
static inline int64_t RowsPerTask(int64_t vocab) {
  const int64_t rows = 65536 / (vocab > 0 ? vocab : 1);
  return rows < 1 ? 1 : rows;
}

// The smallest bad row that any thread saw, as 2 * row + all_masked.
static inline void NoteBadRow(int64_t* first_bad, int64_t row, RowStats stats) {
  AtomicMin(first_bad, 2 * row + (RowIsAllMasked(stats) ? 1 : 0));
}

static inline Status ReportBadRow(int64_t first_bad) { return first_bad == INT64_MAX ? Ok() : BadRow(first_bad / 2, first_bad % 2 != 0); }

}  // namespace PRL_ISA
}  // namespace prl
