// A thread's share of a row's statistics: the largest logit, the sums behind the softmax and its entropy.
#pragma once

#include "kernels/token_logprob/token_logprob_math.h"
#include "runtime/cuda/device_code.h"

namespace prl {

// 2^x, relative error 2^-22; results below 2^-126 are 0. NaN stays NaN.
__device__ inline float Exp2(float x) {
#if defined(PRL_CUDA_EMULATOR)
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// The largest and the smallest of a group; a NaN among them counts for neither.
template <typename T, int kN>
__device__ inline void Extremes(const Pack<T> (&packs)[kN], float* most, float* least) {
  *most = -INFINITY;
  *least = INFINITY;
#pragma unroll
  for (int k = 0; k < kN; ++k) {
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) {
      *most = fmaxf(*most, ToFloat(packs[k].value[j]));
      *least = fminf(*least, ToFloat(packs[k].value[j]));
    }
  }
}
#if !defined(PRL_CUDA_EMULATOR) && __CUDA_ARCH__ >= 800
// Two at a time in the storage type.
template <typename Pair, typename T, int kN>
__device__ inline void PairExtremes(const Pack<T> (&packs)[kN], float* most, float* least) {
  const auto pair = [&](int i) { return reinterpret_cast<const Pair*>(&packs[i / 4])[i % 4]; };
  Pair high = pair(0), low = high;
#pragma unroll
  for (int i = 1; i < 4 * kN; ++i) {
    high = __hmax2(high, pair(i));
    low = __hmin2(low, pair(i));
  }
  *most = fmaxf(__low2float(high), __high2float(high));
  *least = fminf(__low2float(low), __high2float(low));
}
template <int kN>
__device__ inline void Extremes(const Pack<BFloat16> (&packs)[kN], float* most, float* least) {
  PairExtremes<__nv_bfloat162>(packs, most, least);
}
template <int kN>
__device__ inline void Extremes(const Pack<Float16> (&packs)[kN], float* most, float* least) {
  PairExtremes<__half2>(packs, most, least);
}
#endif

// A thread's statistics. Its share of a row is at most a few hundred terms, so float32 does.
struct ThreadStats {
  float c = -INFINITY, sum = 0.0f, weighted = 0.0f;

  __device__ void Raise(float to) {
    if (!(to > c)) return;
    const float shift = sum == 0.0f ? 0.0f : c - to, factor = Exp2(shift);
    weighted = factor == 0.0f ? 0.0f : factor * (weighted + shift * sum);
    sum *= factor;
    c = to;
  }
  // One logit, after Raise: -inf adds exactly nothing, NaN and +inf leave a NaN in the sum.
  __device__ void Add(float logit, float scale, float reference) {
    const float y = fmaf(logit, scale, -reference), e = Exp2(y);
    sum += e;
    weighted += e * fmaxf(y, -3.0e38f);
  }
  // The same for a logit so far from -inf that y is finite.
  __device__ void AddFinite(float logit, float scale, float reference) {
    const float y = fmaf(logit, scale, -reference), e = Exp2(y);
    sum += e;
    weighted = fmaf(e, y, weighted);
  }
  // Nothing but -inf yet: measured against 0, so that 2^-inf is 0 and not NaN.
  __device__ float Reference() const { return c == -INFINITY ? 0.0f : c; }
};

// The first `present` packs of a group. The others must be copies of one that is there.
template <typename T, int kN>
__device__ inline void AddPacks(ThreadStats* stats, const Pack<T> (&packs)[kN], float scale, int present = kN) {
  float most, least;
  Extremes(packs, &most, &least);
  stats->Raise(most * scale);
  const float reference = stats->Reference();
  const auto add_all = [&](auto add) {
#pragma unroll
    for (int k = 0; k < kN; ++k) {
      if (k >= present) break;
      float logits[Pack<T>::kSize];
      ToFloats(packs[k], logits);
#pragma unroll
      for (int j = 0; j < Pack<T>::kSize; ++j) add(logits[j]);
    }
  };
  if (fmaf(least, scale, -reference) > -3.0e38f) {
    add_all([&](float logit) { stats->AddFinite(logit, scale, reference); });
  } else {
    add_all([&](float logit) { stats->Add(logit, scale, reference); });
  }
}

}  // namespace prl
