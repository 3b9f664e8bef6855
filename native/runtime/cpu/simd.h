// Vectors of float32, and of double, as wide as the instruction set has them: the only place of the CPU kernels that
// knows widths. Included only by files compiled per instruction set; everything is `static inline` (see isa.h).
//
// Arithmetic is written with operators (a * b + c becomes a fused multiply-add where there is one). Max and Min return
// their SECOND argument when either is NaN, like the x86 instructions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// <immintrin.h> takes most of a second to parse, SSE2's part of it next to nothing.
#if defined(PRL_ISA_avx2) || defined(PRL_ISA_avx512)
#include <immintrin.h>
#elif defined(PRL_X86)
#include <emmintrin.h>
#endif

#include "runtime/dtype.h"

#define PRL_INLINE static inline __attribute__((always_inline))

namespace prl {
namespace PRL_ISA {

#if defined(PRL_ISA_avx512)
constexpr int kLanes = 16;
#elif defined(PRL_ISA_avx2)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float VF __attribute__((vector_size(kLanes * 4)));
typedef int32_t VI __attribute__((vector_size(kLanes * 4)));
typedef uint32_t VU __attribute__((vector_size(kLanes * 4)));
typedef uint16_t VH __attribute__((vector_size(kLanes * 2)));

PRL_INLINE VF Splat(float x) { return x - VF{}; }
PRL_INLINE VF Load(const float* p) {
  VF v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
PRL_INLINE void Store(float* p, VF v) { __builtin_memcpy(p, &v, sizeof v); }

#if defined(PRL_ISA_avx512)
PRL_INLINE VF Max(VF a, VF b) { return (VF)_mm512_max_ps((__m512)a, (__m512)b); }
PRL_INLINE VF Min(VF a, VF b) { return (VF)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(PRL_ISA_avx2)
PRL_INLINE VF Max(VF a, VF b) { return (VF)_mm256_max_ps((__m256)a, (__m256)b); }
PRL_INLINE VF Min(VF a, VF b) { return (VF)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(PRL_X86)
PRL_INLINE VF Max(VF a, VF b) { return (VF)_mm_max_ps((__m128)a, (__m128)b); }
PRL_INLINE VF Min(VF a, VF b) { return (VF)_mm_min_ps((__m128)a, (__m128)b); }
#else
PRL_INLINE VF Max(VF a, VF b) { return a > b ? a : b; }
PRL_INLINE VF Min(VF a, VF b) { return a < b ? a : b; }
#endif

// Lanes are added in a fixed tree: halves, quarters, ...
PRL_INLINE float ReduceAdd(VF v) {
  float lane[kLanes];
  Store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}
PRL_INLINE float ReduceMax(VF v) {
  float lane[kLanes];
  Store(lane, v);
  float m = lane[0];
  for (int i = 1; i < kLanes; ++i) m = lane[i] > m ? lane[i] : m;
  return m;
}

// v[i][j] <-> v[j][i].
#if defined(PRL_ISA_avx512)
PRL_INLINE void Transpose(VF* v) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int step = 0; step < 4; ++step) {  // each interleaves rows that are half of them apart
    VF next[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = (VF)_mm512_permutex2var_ps((__m512)v[i], low, (__m512)v[i + 8]);
      next[2 * i + 1] = (VF)_mm512_permutex2var_ps((__m512)v[i], high, (__m512)v[i + 8]);
    }
    __builtin_memcpy(v, next, sizeof next);
  }
}
#elif defined(PRL_ISA_avx2)
PRL_INLINE void Transpose(VF* v) {
  __m256 a[8], b[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm256_unpacklo_ps((__m256)v[2 * i], (__m256)v[2 * i + 1]);
    a[2 * i + 1] = _mm256_unpackhi_ps((__m256)v[2 * i], (__m256)v[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // a quarter of the lanes in each half, of rows 0..3 and 4..7
    const __m256 x = a[i / 2 * 4 + i % 2], y = a[i / 2 * 4 + i % 2 + 2];
    b[i / 2 * 4 + i % 2 * 2] = _mm256_shuffle_ps(x, y, 0x44);
    b[i / 2 * 4 + i % 2 * 2 + 1] = _mm256_shuffle_ps(x, y, 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = (VF)_mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    v[i + 4] = (VF)_mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}
#else
PRL_INLINE void Transpose(VF* v) {
  VF t[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) t[j][i] = v[i][j];
  }
  __builtin_memcpy(v, t, sizeof t);
}
#endif

// --- 16-bit storage -----------------------------------------------------------------------------------------------

// Lanes widened, and narrowed where each holds less than 2^16. (g++ 12 makes four instructions of the AVX2
// conversions.)
#if defined(PRL_ISA_avx2)
PRL_INLINE VU Widen(const uint16_t* p) { return (VU)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)); }
PRL_INLINE void Narrow(uint16_t* p, VU v) {
  const __m256i pairs = _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)v, (__m256i)v), 0x08);
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(pairs));
}
#else
PRL_INLINE VU Widen(const uint16_t* p) {
  VH h;
  __builtin_memcpy(&h, p, sizeof h);
  return __builtin_convertvector(h, VU);
}
PRL_INLINE void Narrow(uint16_t* p, VU v) {
  const VH h = __builtin_convertvector(v, VH);
  __builtin_memcpy(p, &h, sizeof h);
}
#endif

PRL_INLINE VF Load(const BFloat16* p) { return (VF)(Widen(&p->bits) << 16); }
// Rounded to nearest, ties to even, in the upper halves; a NaN stays a NaN.
PRL_INLINE VU RoundToUpperHalf(VF v) {
  const VU bits = (VU)v;
  return v == v ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u;
}
PRL_INLINE void Store(BFloat16* p, VF v) { Narrow(&p->bits, RoundToUpperHalf(v) >> 16); }

PRL_INLINE float ToFloat(float x) { return x; }
PRL_INLINE float ToFloat(BFloat16 x) {
  const uint32_t bits = (uint32_t)x.bits << 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
PRL_INLINE float ToFloat(Float16 x) {
  _Float16 h;
  __builtin_memcpy(&h, &x.bits, 2);
  return (float)h;
}
PRL_INLINE void FromFloat(float x, float* p) { *p = x; }
PRL_INLINE void FromFloat(float x, BFloat16* p) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  p->bits = x == x ? (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16) : (uint16_t)((bits >> 16) | 0x40u);
}
PRL_INLINE void FromFloat(float x, Float16* p) {
  const _Float16 h = (_Float16)x;
  __builtin_memcpy(&p->bits, &h, 2);
}

#if defined(PRL_ISA_avx512)
PRL_INLINE VF Load(const Float16* p) { return (VF)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
PRL_INLINE void Store(Float16* p, VF v) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, 0)); }
#elif defined(PRL_ISA_avx2)
PRL_INLINE VF Load(const Float16* p) { return (VF)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
PRL_INLINE void Store(Float16* p, VF v) { _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, 0)); }
#else
PRL_INLINE VF Load(const Float16* p) {
  VF v;
  for (int i = 0; i < kLanes; ++i) v[i] = ToFloat(p[i]);
  return v;
}
PRL_INLINE void Store(Float16* p, VF v) {
  for (int i = 0; i < kLanes; ++i) FromFloat(v[i], p + i);
}
#endif

// 2 * kLanes values at a time, where it does not matter which of the two vectors has which: of bfloat16 one takes those
// at even places, the other those at odd ones, which spares the instructions that widen and narrow.
template <typename T>
PRL_INLINE void LoadPair(const T* p, VF* a, VF* b) {
  *a = Load(p);
  *b = Load(p + kLanes);
}
template <typename T>
PRL_INLINE void StorePair(T* p, VF a, VF b) {
  Store(p, a);
  Store(p + kLanes, b);
}
PRL_INLINE void LoadPair(const BFloat16* p, VF* even, VF* odd) {
  VU both;
  __builtin_memcpy(&both, p, sizeof both);
  *even = (VF)(both << 16);
  *odd = (VF)(both & 0xffff0000u);
}
PRL_INLINE void StorePair(BFloat16* p, VF even, VF odd) {
  const VU both = (RoundToUpperHalf(even) >> 16) | (RoundToUpperHalf(odd) & 0xffff0000u);
  __builtin_memcpy(p, &both, sizeof both);
}

// The first n < kLanes values, the other lanes holding `fill`.
template <typename T>
PRL_INLINE VF LoadPartial(const T* p, int n, float fill) {
  float lane[kLanes];
  for (int i = 0; i < kLanes; ++i) lane[i] = i < n ? ToFloat(p[i]) : fill;
  return Load(lane);
}
template <typename T>
PRL_INLINE void StorePartial(T* p, int n, VF v) {
  T lane[kLanes];
  Store(lane, v);
  for (int i = 0; i < n; ++i) p[i] = lane[i];
}

// --- exp ----------------------------------------------------------------------------------------------------------

// e^x to about 1 ulp: x = n ln 2 + r with |r| <= ln 2 / 2, a degree-6 polynomial for e^r, the exponent added as an
// integer (Cephes' expf, netlib.org/cephes). 0 below -87.3 (a denormal result is 0), infinity above 88.7, NaN for NaN.
PRL_INLINE VF Exp(VF x) {
  const VF low = Splat(-87.33654f), high = Splat(88.72283f);
  const VF clamped = Min(high, Max(low, x));  // NaN passes both
  const VF magic = Splat(12582912.0f);        // 1.5 * 2^23: adding it rounds to an integer
  const VF shifted = clamped * 1.44269504088896341f + magic;
  const VF n = shifted - magic;
  VF r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  VF p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors, so that n = 128 does not overflow before the product does.
  const VU ni = (VU)shifted - 0x4b400000u;  // unsigned arithmetic: with a NaN it wraps
  const VU half = (VU)((VI)ni >> 1);
  const VF s1 = (VF)((half + 127u) << 23), s2 = (VF)((ni - half + 127u) << 23);
  const VF e = p * s1 * s2;
  const VF overflow = x > high ? Splat(__builtin_inff()) : e;
  return x < low ? Splat(0.0f) : overflow;
}

// Exp for x <= 0 (or NaN), as a softmax needs it: no overflow to guard.
PRL_INLINE VF ExpNonPositive(VF x) {
  const VF low = Splat(-87.33654f);
  const VF clamped = Max(low, x);  // NaN passes
  const VF magic = Splat(12582912.0f);
  const VF shifted = clamped * 1.44269504088896341f + magic;
  const VF n = shifted - magic;
  VF r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  VF p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const VF e = p * (VF)(((VU)shifted - (0x4b400000u - 127u)) << 23);
  return x < low ? Splat(0.0f) : e;
}

// 2^y for -127 <= y <= 0, to 1.6e-7 relative, the cheapest there is: y = n + f with |f| <= 1/2, a degree-5 polynomial
// for 2^f (minimax with p(0) = 1), n added to its exponent. 1 at 0; exactly 0 at -127, so clamp y there and what lies
// below vanishes. A NaN does NOT come out as a NaN.
PRL_INLINE VF Exp2NonPositive(VF y) {
  const VF magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const VF shifted = y + magic;
  const VF f = y - (shifted - magic);
  VF p = f * 0.001326472731307149f + 0.009671512991189957f;
  p = p * f + 0.05550733581185341f;
  p = p * f + 0.24022242426872253f;
  p = p * f + 0.6931470036506653f;
  p = p * f + 1.0f;
  return (VF)((VU)p + ((VU)shifted << 23));  // unsigned: with a NaN the sum wraps
}

// --- double -------------------------------------------------------------------------------------------------------

constexpr int kDoubles = kLanes / 2;
typedef double VD __attribute__((vector_size(kDoubles * 8)));
typedef int64_t VL __attribute__((vector_size(kDoubles * 8)));  // of a comparison of VD: -1 where it holds, 0 elsewhere
typedef uint64_t VUL __attribute__((vector_size(kDoubles * 8)));
typedef float VHF __attribute__((vector_size(kDoubles * 4)));

PRL_INLINE VD SplatDouble(double x) { return x - VD{}; }
// (g++ 12 makes four instructions of these conversions, too.)
#if defined(PRL_ISA_avx512)
PRL_INLINE VD LoadWide(const float* p) { return (VD)_mm512_cvtps_pd(_mm256_loadu_ps(p)); }
PRL_INLINE VHF ToFloats(VD v) { return (VHF)_mm512_cvtpd_ps((__m512d)v); }
#elif defined(PRL_ISA_avx2)
PRL_INLINE VD LoadWide(const float* p) { return (VD)_mm256_cvtps_pd(_mm_loadu_ps(p)); }
PRL_INLINE VHF ToFloats(VD v) { return (VHF)_mm256_cvtpd_ps((__m256d)v); }
#else
PRL_INLINE VD LoadWide(const float* p) {
  VHF v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, VD);
}
PRL_INLINE VHF ToFloats(VD v) { return __builtin_convertvector(v, VHF); }
#endif
// Integers, as wide.
PRL_INLINE VL LoadWide(const int32_t* p) {
#if defined(PRL_ISA_avx512)
  return (VL)_mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i*)p));
#elif defined(PRL_ISA_avx2)
  return (VL)_mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i*)p));
#else
  VL v;
  for (int i = 0; i < kDoubles; ++i) v[i] = p[i];
  return v;
#endif
}
// The first n < kDoubles of them, the other lanes 0.
PRL_INLINE VL LoadWidePartial(const int32_t* p, int n) {
  VL v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
PRL_INLINE VD LoadWidePartial(const float* p, int n) {
  VD v = {};
  for (int i = 0; i < n; ++i) v[i] = (double)p[i];
  return v;
}
// n of them.
PRL_INLINE void StoreFloats(float* p, int n, VHF v) {
  typedef float Anywhere __attribute__((vector_size(kDoubles * 4), aligned(4)));
  if (n == kDoubles) *(Anywhere*)p = v;
  else
    for (int i = 0; i < n; ++i) p[i] = v[i];
}

// Bit i says whether lane i holds.
#if defined(PRL_ISA_avx512)
PRL_INLINE unsigned LanesThatHold(VL v) { return _mm512_movepi64_mask((__m512i)v); }
#elif defined(PRL_ISA_avx2)
PRL_INLINE unsigned LanesThatHold(VL v) { return (unsigned)_mm256_movemask_pd((__m256d)v); }
#elif defined(PRL_X86)
PRL_INLINE unsigned LanesThatHold(VL v) { return (unsigned)_mm_movemask_pd((__m128d)v); }
#else
PRL_INLINE unsigned LanesThatHold(VL v) {
  unsigned bits = 0;
  for (int i = 0; i < kDoubles; ++i) bits |= (v[i] ? 1u : 0u) << i;
  return bits;
}
#endif

#if defined(PRL_ISA_avx512)
PRL_INLINE VD MaxDouble(VD a, VD b) { return (VD)_mm512_max_pd((__m512d)a, (__m512d)b); }
PRL_INLINE VD MinDouble(VD a, VD b) { return (VD)_mm512_min_pd((__m512d)a, (__m512d)b); }
#elif defined(PRL_ISA_avx2)
PRL_INLINE VD MaxDouble(VD a, VD b) { return (VD)_mm256_max_pd((__m256d)a, (__m256d)b); }
PRL_INLINE VD MinDouble(VD a, VD b) { return (VD)_mm256_min_pd((__m256d)a, (__m256d)b); }
#else
PRL_INLINE VD MaxDouble(VD a, VD b) { return a > b ? a : b; }
PRL_INLINE VD MinDouble(VD a, VD b) { return a < b ? a : b; }
#endif

// e^x and e^x - 1 together, to 1.2 and 2.8 times 2^-52 relative: x = n ln 2 + r with |r| <= ln 2 / 2 and p = e^r - 1 =
// 2 r P / (Q - r P), with P and Q polynomials in r^2 (Cephes' exp, netlib.org/cephes); then e^x = 2^n p + 2^n and e^x -
// 1 = 2^n p + (2^n - 1), where half of 2^n is used since it does not overflow before the result does. 0 and -1 below
// -708 (a denormal result is 0), infinity above 709.78, NaN for NaN.
struct VExponentials {
  VD exp, expm1;
};
PRL_INLINE VExponentials ExpAndExpm1(VD x) {
  const VD clamped = MinDouble(SplatDouble(709.8), MaxDouble(SplatDouble(-708.396418532264106), x));  // NaN passes both
  const VD magic = SplatDouble(6755399441055744.0);  // 1.5 * 2^52: adding it rounds to an integer
  const VD shifted = clamped * 1.4426950408889634073599 + magic;
  const VD n = shifted - magic;
  VD r = clamped - n * 6.93145751953125e-1;
  r = r - n * 1.42860682030941723212e-6;
  const VD z = r * r;
  VD px = z * 1.26177193074810590878e-4 + 3.02994407707441961300e-2;
  px = (px * z + 9.99999999999999999910e-1) * r;
  VD q = z * 1.50099252569332227521e-6 + 1.26224170174842052096e-3;  // halves of Cephes'
  q = q * z + 1.13632774104077514383e-1;
  q = q * z + 1.0;
  const VD p = px / (q - 0.5 * px);
  // 2^(n - 1): n - 1 added to the exponent of 1; at the lower end it is 0.
  const VD half = (VD)(((VUL)shifted + 1022u) << 52);
  const VD e = p * half + half, m = p * half + (half - 0.5);
  return {e + e, m + m};
}
PRL_INLINE VD Exp(VD x) { return ExpAndExpm1(x).exp; }
PRL_INLINE VD Expm1(VD x) { return ExpAndExpm1(x).expm1; }
// (e^2x - 1) / (e^2x + 1); 1 from 20 on.
PRL_INLINE VD Tanh(VD x) {
  const VD e = Expm1(2.0 * MinDouble(SplatDouble(20.0), x));
  return e / (e + 2.0);
}
PRL_INLINE VD Log(VD x) {
  for (int i = 0; i < kDoubles; ++i) x[i] = log(x[i]);
  return x;
}

#if defined(PRL_ISA_avx512)
PRL_INLINE VL LanesFrom(int k) { return VL{0, 1, 2, 3, 4, 5, 6, 7} + k; }
#elif defined(PRL_ISA_avx2)
PRL_INLINE VL LanesFrom(int k) { return VL{0, 1, 2, 3} + k; }
#else
PRL_INLINE VL LanesFrom(int k) { return VL{0, 1} + k; }
#endif
// Lane i has what was in lane i + kBy, or 0 where there is none.
template <int kBy>
PRL_INLINE VD ShiftDown(VD v) {
  return __builtin_shuffle(v, VD{}, LanesFrom(kBy));
}
PRL_INLINE VD FirstLane(VD v) { return __builtin_shuffle(v, VL{}); }
// Lanes are added in a fixed tree, as those of VF.
PRL_INLINE double ReduceAdd(VD v) {
  for (int width = kDoubles / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  }
  return v[0];
}
// Of each lane the sum of it and those after it.
PRL_INLINE VD SuffixSums(VD v) {
  v += ShiftDown<1>(v);
  if (kDoubles > 2) v += ShiftDown<2>(v);
  if (kDoubles > 4) v += ShiftDown<4>(v);
  return v;
}

}  // namespace PRL_ISA
}  // namespace prl
