// What kernels share on the device: 16-byte packs of any storage type, shared memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "runtime/dtype.h"

namespace prl {

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(BFloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ inline float ToFloat(Float16 x) {
  __half_raw raw;
  raw.x = x.bits;
  return __half2float(__half(raw));
}

// Two neighbours at once: one conversion instruction where the hardware has it (compute capability 8.0 on). To nearest
// even.
__device__ inline void FromFloats(float a, float b, float* out) {
  out[0] = a;
  out[1] = b;
}
#if defined(PRL_CUDA_EMULATOR) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
// Below, CUDA's conversion is a function of a dozen instructions per number; this one has half of them, and the
// emulator tests it. Half of what is cut off is added, and the last bit that stays if that is odd. A NaN stays one.
__device__ inline unsigned RoundedToUpperHalf(float x) {
  const unsigned bits = __float_as_uint(x);
  return x == x ? bits + 0x7FFFu + ((bits >> 16) & 1u) : 0x7FFF0000u;
}
__device__ inline void FromFloats(float a, float b, BFloat16* out) {
  const unsigned both = (RoundedToUpperHalf(a) >> 16) | (RoundedToUpperHalf(b) & 0xFFFF0000u);
  out[0].bits = (uint16_t)both;
  out[1].bits = (uint16_t)(both >> 16);
}
#else
__device__ inline void FromFloats(float a, float b, BFloat16* out) {
  const __nv_bfloat162_raw raw = __nv_bfloat162_raw(__floats2bfloat162_rn(a, b));
  out[0].bits = raw.x;
  out[1].bits = raw.y;
}
#endif
__device__ inline void FromFloats(float a, float b, Float16* out) {
  const __half2_raw raw = __half2_raw(__floats2half2_rn(a, b));
  out[0].bits = raw.x;
  out[1].bits = raw.y;
}
template <typename T>
__device__ inline T FromFloat(float x) {
  T pair[2];
  FromFloats(x, 0.0f, pair);
  return pair[0];
}

// 16 bytes: the widest load and store of a thread.
template <typename T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T value[kSize];
};
// All of a pack. Two at once out of a 32-bit word: element by element it would take another instruction each.
__device__ inline void ToFloats(const Pack<float>& pack, float (&out)[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) out[j] = pack.value[j];
}
__device__ inline void ToFloats(const Pack<BFloat16>& pack, float (&out)[8]) {
  const unsigned* words = reinterpret_cast<const unsigned*>(&pack);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    out[2 * j] = __uint_as_float(words[j] << 16);
    out[2 * j + 1] = __uint_as_float(words[j] & 0xFFFF0000u);
  }
}
__device__ inline void ToFloats(const Pack<Float16>& pack, float (&out)[8]) {
  const __half2* pairs = reinterpret_cast<const __half2*>(&pack);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    out[2 * j] = __low2float(pairs[j]);
    out[2 * j + 1] = __high2float(pairs[j]);
  }
}

// Read once: past the first-level cache, and the first to leave the second.
template <typename T>
__device__ inline Pack<T> LoadStreaming(const Pack<T>* from) {
  const uint4 bits = __ldcs(reinterpret_cast<const uint4*>(from));
  Pack<T> pack;
  *reinterpret_cast<uint4*>(&pack) = bits;
  return pack;
}
template <typename T>
__device__ inline void StoreStreaming(Pack<T>* to, const Pack<T>& pack) {
  __stcs(reinterpret_cast<uint4*>(to), *reinterpret_cast<const uint4*>(&pack));
}

// A row as single elements up to the first 16-byte boundary, whole packs, and single elements after the last: any
// vocabulary and any stride will do.
struct RowCut {
  int64_t head, packs, tail;  // tail begins at head + packs * kSize
};
template <typename T>
__device__ inline RowCut CutRow(const T* row, int64_t n) {
  constexpr int kSize = Pack<T>::kSize;
  const int64_t past = (int64_t)((reinterpret_cast<uintptr_t>(row) / sizeof(T)) % kSize);
  int64_t head = past ? kSize - past : 0;
  if (head > n) head = n;
  const int64_t packs = (n - head) / kSize;
  return {head, packs, n - head - packs * kSize};
}

// Dynamic shared memory of the block, on a 16-byte boundary. Kernels use no other kind together with clusters.
__device__ inline unsigned char* SharedMemory() {
#if defined(PRL_CUDA_EMULATOR)
  return static_cast<unsigned char*>(prl_emulator_shared());
#else
  extern __shared__ __align__(16) unsigned char prl_shared[];
  return prl_shared;
#endif
}

// The same as a struct of the kernel's, which is launched with sizeof(Shared) bytes.
template <typename Shared>
__device__ inline Shared& SharedAs() {
  static_assert(alignof(Shared) <= 16, "SharedMemory is on a 16-byte boundary");
  return *reinterpret_cast<Shared*>(SharedMemory());
}

}  // namespace prl
