#include "model/layers/adamw/adamw.h"

#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {

void AdamWCpu(const AdamWStep& step, int64_t n, const float* gradient, float* parameter, float* m, float* v) {
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    const AdamWStep s = step;
    const float* __restrict g = gradient;
    float* __restrict p = parameter, * __restrict first = m, * __restrict second = v;
    for (int64_t i = begin; i < end; ++i) AdamWElement(s, g[i], p + i, first + i, second + i);
  });
}

void AdamWBFloat16Cpu(const AdamWStep& step, int64_t n, const float* gradient, BFloat16* parameter, uint16_t* low,
                      float* m, float* v) {
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    const AdamWStep s = step;
    const float* __restrict g = gradient;
    uint16_t* __restrict high = &parameter->bits, * __restrict rest = low;
    float* __restrict first = m, * __restrict second = v;
    for (int64_t i = begin; i < end; ++i) {
      float master = MasterOf(high[i], rest[i]);
      AdamWElement(s, g[i], &master, first + i, second + i);
      SplitMaster(master, high + i, rest + i);
    }
  });
}

// Whether a step leaves a number that is not finite: a loop without branches. kNarrow: the parameter is in bfloat16.
template <bool kNarrow>
static uint32_t LeavesNotFinite(const AdamWStep& step, int64_t n, const float* gradient, const float* parameter,
                                const BFloat16* high, const uint16_t* low, const float* m, const float* v) {
  const AdamWStep s = step;
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    float first = m[i], second = v[i], p = kNarrow ? MasterOf(high[i].bits, low[i]) : parameter[i];
    AdamWElement(s, gradient[i], &p, &first, &second);
    bad |= IsNotFinite(p) | IsNotFinite(first) | IsNotFinite(second);
    if (kNarrow) {
      uint16_t rounded = 0, rest;
      SplitMaster(p, &rounded, &rest);
      bad |= (uint32_t)((rounded & 0x7fff) >= 0x7f80);
    }
  }
  return bad;
}

bool AdamWStaysFiniteCpu(const AdamWStep& step, int64_t n, const float* gradient, const float* parameter,
                         const BFloat16* high, const uint16_t* low, const float* m, const float* v) {
  int found = 0;
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    const uint32_t bad = parameter ? LeavesNotFinite<false>(step, count, gradient + begin, parameter + begin, nullptr,
                                                            nullptr, m + begin, v + begin)
                                   : LeavesNotFinite<true>(step, count, gradient + begin, nullptr, high + begin,
                                                           low + begin, m + begin, v + begin);
    if (bad) __atomic_store_n(&found, 1, __ATOMIC_RELAXED);
  });
  return !found;
}

double SumSquaresCpu(int64_t n, const float* x, double* partial) {
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    double sum[8] = {0};
    int64_t i = begin;
    for (; i + 8 <= end; i += 8) {
      for (int l = 0; l < 8; ++l) sum[l] += (double)x[i + l] * (double)x[i + l];
    }
    for (; i < end; ++i) sum[0] += (double)x[i] * (double)x[i];
    partial[begin / 16384] = ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
  });
  double total = 0.0;
  for (int64_t piece = 0; piece < SumSquaresPieces(n); ++piece) total += partial[piece];
  return total;
}

}  // namespace PRL_ISA
}  // namespace prl
