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
// Rows of more blocks than this do not keep their exponentials (a vocabulary of half a million).
constexpr int64_t kMaxBlocks = 256;

// What a first look at a row can leave for its gradient. A float32 gradient has room for the exponentials themselves:
// the second look is then one multiplication, and exp is computed once. 16-bit storage would round them: they are made
// again.
struct RowWork {
  bool kept;  // the gradient holds e^((logit - block_max) / temperature)
  float block_max[kMaxBlocks];
};

// With kKeep, the exponentials go to `kept` (which may be the row) and what they are relative to into block_max.
template <bool kKeep, typename T>
static inline RowStats StatsOfRow(const T* row, int64_t vocab, float inv_temperature, float* kept, float* block_max) {
  RowStats total = EmptyStats();
  // y = (logit - max) / temperature in units of ln 2, for 2^y; clamped where 2^y is 0, so that -inf meets no 0.
  const VF scale = Splat(inv_temperature * 1.44269504f), floor = Splat(-127.0f), none = Splat(-__builtin_inff());
  for (int64_t begin = 0; begin < vocab; begin += kRowBlock) {
    const int64_t n = vocab - begin < kRowBlock ? vocab - begin : kRowBlock;
    const T* p = row + begin;
    const int64_t whole = n - n % kLanes;
    const VF tail = whole < n ? LoadPartial(p + whole, (int)(n - whole), -__builtin_inff()) : none;
    VF m0 = tail, m1 = none, m2 = none, m3 = none;
    int64_t i = 0;
    for (; i + 4 * kLanes <= whole; i += 4 * kLanes) {
      VF x0, x1, x2, x3;
      LoadPair(p + i, &x0, &x1);
      LoadPair(p + i + 2 * kLanes, &x2, &x3);
      m0 = Max(x0, m0);
      m1 = Max(x1, m1);
      m2 = Max(x2, m2);
      m3 = Max(x3, m3);
    }
    for (; i < whole; i += kLanes) m0 = Max(Load(p + i), m0);
    const float found = ReduceMax(Max(Max(m0, m1), Max(m2, m3)));
    if (found > total.max) total = Rebase(total, found, inv_temperature);
    if (kKeep) block_max[begin / kRowBlock] = total.max;
    // Nothing but -inf (or NaN) yet: measured against 0, so that 2^-inf is 0 and a NaN still shows.
    const VF max = Splat(total.max > -__builtin_inff() ? total.max : 0.0f);
    VF sum0{}, sum1{}, weighted0{}, weighted1{};
    for (i = 0; i + 2 * kLanes <= whole; i += 2 * kLanes) {
      __builtin_prefetch(p + i + kRowBlock);  // the next block comes from memory while this one is computed
      VF x0, x1;
      LoadPair(p + i, &x0, &x1);
      const VF y0 = Max(floor, (x0 - max) * scale), y1 = Max(floor, (x1 - max) * scale);
      const VF e0 = Exp2NonPositive(y0), e1 = Exp2NonPositive(y1);
      sum0 += e0;
      sum1 += e1;
      weighted0 += e0 * y0;
      weighted1 += e1 * y1;
      if (kKeep) {
        Store(kept + begin + i, e0);
        Store(kept + begin + i + kLanes, e1);
      }
    }
    if (i < whole) {
      const VF y = Max(floor, (Load(p + i) - max) * scale), e = Exp2NonPositive(y);
      sum0 += e;
      weighted0 += e * y;
      if (kKeep) Store(kept + begin + i, e);
    }
    if (whole < n) {
      const VF y = Max(floor, (tail - max) * scale), e = Exp2NonPositive(y);
      sum1 += e;
      weighted1 += e * y;
      if (kKeep) StorePartial(kept + begin + whole, (int)(n - whole), e);
    }
    const double weighted = (double)ReduceAdd(weighted0 + weighted1);
    // A NaN logit is a NaN in y, and must be one in the sum
    total.sum += (double)ReduceAdd(sum0 + sum1) + 0.0 * weighted;
    total.weighted += weighted * 0.693147180559945309;
  }
  return total;
}

template <typename T>
static inline RowStats StatsOfRow(const T* row, int64_t vocab, float inv_temperature) {
  return StatsOfRow<false>(row, vocab, inv_temperature, nullptr, nullptr);
}

// The first look at a row whose gradient goes to `out`, which may be the row: that is then lost.
template <typename T>
static inline RowStats StatsBeforeGradient(const T* row, T* out, int64_t vocab, float inv_temperature,
                                           bool with_entropy, RowWork* work) {
  work->kept = sizeof(T) == sizeof(float) && !with_entropy && vocab <= kMaxBlocks * kRowBlock;
  if (work->kept) return StatsOfRow<true>(row, vocab, inv_temperature, (float*)out, work->block_max);
  return StatsOfRow(row, vocab, inv_temperature);
}

// Writes d logits after StatsBeforeGradient; with_entropy was d_entropy != 0.
template <typename T>
static inline void GradientOfRow(const T* row, T* out, int64_t vocab, int32_t target, RowStats stats, RowResult result,
                                 float d_logprob, float d_entropy, float inv_temperature, const RowWork& work) {
  const RowGradient g = GradientOf(d_logprob, d_entropy, result.entropy, inv_temperature);
  const float at_target = d_logprob * inv_temperature;
  if (work.kept) {
    for (int64_t begin = 0; begin < vocab; begin += kRowBlock) {
      const double shift = ((double)work.block_max[begin / kRowBlock] - (double)stats.max) * (double)inv_temperature;
      const VF factor = Splat((float)((double)g.a * exp(shift) / stats.sum));
      float* p = (float*)out + begin;
      const int64_t n = vocab - begin < kRowBlock ? vocab - begin : kRowBlock;
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) Store(p + i, Load(p + i) * factor);
      for (; i < n; ++i) p[i] *= factor[0];
    }
  } else {
    // p (a + b log p) with p = 2^y / sum and log p = y ln 2 - log(sum).
    const VF a = Splat((float)(((double)g.a - (double)g.b * log(stats.sum)) / stats.sum));
    const VF b = Splat((float)((double)g.b * 0.693147180559945309 / stats.sum));
    const VF max = Splat(stats.max), scale = Splat(inv_temperature * 1.44269504f), floor = Splat(-127.0f);
    // 16-bit storage: a block at a time in float32, then rounded; the constants of both do not fit the registers
    // together.
    constexpr bool kStage = sizeof(T) != sizeof(float);
    float staged[kStage ? kRowBlock : 1];
    for (int64_t begin = 0; begin < vocab; begin += kRowBlock) {
      const int64_t n = vocab - begin < kRowBlock ? vocab - begin : kRowBlock, whole = n - n % kLanes;
      float* block = kStage ? staged : (float*)(out + begin);
      int64_t i = 0;
      for (; i + 2 * kLanes <= whole; i += 2 * kLanes) {
        VF x0, x1;
        LoadPair(row + begin + i, &x0, &x1);
        const VF y0 = Max(floor, (x0 - max) * scale), y1 = Max(floor, (x1 - max) * scale);
        Store(block + i, Exp2NonPositive(y0) * (a + b * y0));
        Store(block + i + kLanes, Exp2NonPositive(y1) * (a + b * y1));
      }
      const int64_t paired = i;
      if (i < whole) {
        const VF y = Max(floor, (Load(row + begin + i) - max) * scale);
        Store(block + i, Exp2NonPositive(y) * (a + b * y));
      }
      if (whole < n) {
        const VF y = Max(floor, (LoadPartial(row + begin + whole, (int)(n - whole), -__builtin_inff()) - max) * scale);
        StorePartial(out + begin + whole, (int)(n - whole), Exp2NonPositive(y) * (a + b * y));
      }
      for (i = 0; kStage && i < paired; i += 2 * kLanes)
        StorePair(out + begin + i, Load(staged + i), Load(staged + i + kLanes));
      if (kStage && paired < whole) Store(out + begin + paired, Load(staged + paired));
    }
  }
  // The target last, from its log-probability: its two terms in float32, rounded to the storage type once.
  const float p = (float)exp((double)result.logprob);
  FromFloat((p > 0.0f ? p * (g.a + g.b * result.logprob) : 0.0f) + at_target, out + target);
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

static inline Status ReportBadRow(int64_t first_bad) {
  return first_bad == INT64_MAX ? Ok() : BadRow(first_bad / 2, first_bad % 2 != 0);
}

}  // namespace PRL_ISA
}  // namespace prl
