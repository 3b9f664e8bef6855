// The device side of cuda_runtime.h: keywords, built-in variables, intrinsics. Only what nvcc has, so that a kernel
// that compiles here compiles there; float atomics are left out on purpose (their order is not fixed).
#pragma once

#include <math.h>

#include <cstring>
#include <type_traits>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
// One block at a time runs on an OS thread, so a thread's static variable is the block's; in a cluster it would be all
// blocks', hence only dynamic shared memory there. It is not poisoned: a block finds in it what the previous block
// left.
#define __shared__ static thread_local

#define threadIdx (::prl_emulator::current->index)
#define blockIdx (::prl_emulator::current->block->index)
// Variables, for the launch configuration has fields of these names. Set once per launch.
extern __thread dim3 blockDim __attribute__((tls_model("initial-exec")));
extern __thread dim3 gridDim __attribute__((tls_model("initial-exec")));
constexpr int warpSize = 32;

#define PRL_EMULATOR_VECTOR(T, name, alignment)                      \
  struct alignas(2 * sizeof(T)) name##2 {                            \
    T x, y;                                                          \
  };                                                                 \
  struct name##3 {                                                   \
    T x, y, z;                                                       \
  };                                                                 \
  struct alignas(alignment) name##4 {                                \
    T x, y, z, w;                                                    \
  };                                                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
PRL_EMULATOR_VECTOR(signed char, char, 4)
PRL_EMULATOR_VECTOR(unsigned char, uchar, 4)
PRL_EMULATOR_VECTOR(short, short, 8)
PRL_EMULATOR_VECTOR(unsigned short, ushort, 8)
PRL_EMULATOR_VECTOR(int, int, 16)
PRL_EMULATOR_VECTOR(float, float, 16)
PRL_EMULATOR_VECTOR(long long, longlong, 16)
PRL_EMULATOR_VECTOR(unsigned long long, ulonglong, 16)
PRL_EMULATOR_VECTOR(double, double, 16)
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- barriers and warps
inline void __syncthreads(PRL_EMULATOR_WHERE) { prl_emulator::SyncThreads(0, {function, file, line}); }
inline int __syncthreads_or(int p, PRL_EMULATOR_WHERE) {
  return prl_emulator::SyncThreads(p, {function, file, line}).any;
}
inline int __syncthreads_count(int p, PRL_EMULATOR_WHERE) {
  return prl_emulator::SyncThreads(p, {function, file, line}).count;
}
inline int __syncthreads_and(int p, PRL_EMULATOR_WHERE) {
  const prl_emulator::Vote vote = prl_emulator::SyncThreads(p, {function, file, line});
  return vote.count == vote.threads;
}
// Those of clusters (compute capability 9.0 on); cooperative_groups.h has the same as methods.
inline unsigned __clusterSizeInBlocks() { return prl_emulator::ClusterBlocks(); }
inline unsigned __clusterRelativeBlockRank() { return prl_emulator::current->block->rank; }
inline void __cluster_barrier_arrive() { prl_emulator::ClusterArrive(); }
inline void __cluster_barrier_wait(PRL_EMULATOR_WHERE) { prl_emulator::ClusterWait({function, file, line}); }
inline void* __cluster_map_shared_rank(const void* shared, unsigned rank) {
  return prl_emulator::MapSharedRank(shared, rank);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, PRL_EMULATOR_WHERE) {
  prl_emulator::WarpWait(prl_emulator::WarpOp::kSync, mask, 0, 0, {function, file, line});
}
inline unsigned __ballot_sync(unsigned mask, int p, PRL_EMULATOR_WHERE) {
  return (unsigned)prl_emulator::WarpWait(prl_emulator::WarpOp::kBallot, mask, p != 0, 0, {function, file, line});
}
inline int __any_sync(unsigned mask, int p, PRL_EMULATOR_WHERE) {
  return __ballot_sync(mask, p, function, file, line) != 0;
}
inline int __all_sync(unsigned mask, int p, PRL_EMULATOR_WHERE) {
  return __ballot_sync(mask, !p, function, file, line) == 0;
}

namespace prl_emulator {
template <typename T>
T Shuffle(unsigned mask, T value, int source, Where where) {
  static_assert(std::is_trivially_copyable<T>::value && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8),
                "no such shuffle");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = WarpWait(WarpOp::kShuffle, mask, bits, source, where);
  memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}
inline int Lane() { return (int)(current->rank % 32); }
}  // namespace prl_emulator
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, PRL_EMULATOR_WHERE) {
  const int lane = prl_emulator::Lane();
  return prl_emulator::Shuffle(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), {function, file, line});
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, PRL_EMULATOR_WHERE) {
  const int lane = prl_emulator::Lane(), in = lane & (width - 1);
  return prl_emulator::Shuffle(mask, value, (int)delta > in ? lane : lane - (int)delta, {function, file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, PRL_EMULATOR_WHERE) {
  const int lane = prl_emulator::Lane(), in = lane & (width - 1);
  return prl_emulator::Shuffle(mask, value, in + (int)delta >= width ? lane : lane + (int)delta,
                               {function, file, line});
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, PRL_EMULATOR_WHERE) {
  const int lane = prl_emulator::Lane(), other = lane ^ lanes;
  return prl_emulator::Shuffle(mask, value, other > (lane | (width - 1)) ? lane : other, {function, file, line});
}

// ---- atomics: real ones, for kernels of two streams run on two OS threads
#define PRL_EMULATOR_ATOMIC(T)                                                               \
  inline T atomicExch(T* p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); }     \
  inline T atomicCAS(T* p, T expected, T v) {                                                \
    __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
    return expected;                                                                         \
  }
#define PRL_EMULATOR_ATOMIC_ORDER(T)                                                                         \
  inline T atomicMin(T* p, T v) {                                                                            \
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);                                                            \
    while (v < old && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { \
    }                                                                                                        \
    return old;                                                                                              \
  }                                                                                                          \
  inline T atomicMax(T* p, T v) {                                                                            \
    T old = __atomic_load_n(p, __ATOMIC_RELAXED);                                                            \
    while (v > old && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) { \
    }                                                                                                        \
    return old;                                                                                              \
  }                                                                                                          \
  inline T atomicAnd(T* p, T v) { return __atomic_fetch_and(p, v, __ATOMIC_RELAXED); }                       \
  inline T atomicOr(T* p, T v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }
#define PRL_EMULATOR_ATOMIC_ADD(T) \
  inline T atomicAdd(T* p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
PRL_EMULATOR_ATOMIC(int)
PRL_EMULATOR_ATOMIC(unsigned)
PRL_EMULATOR_ATOMIC(unsigned long long)
PRL_EMULATOR_ATOMIC_ORDER(int)
PRL_EMULATOR_ATOMIC_ORDER(unsigned)
PRL_EMULATOR_ATOMIC_ORDER(long long)
PRL_EMULATOR_ATOMIC_ORDER(unsigned long long)
PRL_EMULATOR_ATOMIC_ADD(int)
PRL_EMULATOR_ATOMIC_ADD(unsigned)
PRL_EMULATOR_ATOMIC_ADD(unsigned long long)
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __threadfence(); }
inline void __threadfence_system() { __threadfence(); }

// ---- loads and stores with a cache hint; a misaligned one is an error, as on a GPU
namespace prl_emulator {
template <typename T>
const T* Aligned(const T* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(T))
    Fail("misaligned address %p in an access of %zu bytes", (const void*)p, sizeof(T));
  return p;
}
}  // namespace prl_emulator
#define PRL_EMULATOR_LOAD(name)       \
  template <typename T>               \
  T name(const T* p) {                \
    return *prl_emulator::Aligned(p); \
  }
#define PRL_EMULATOR_STORE(name)                   \
  template <typename T>                            \
  void name(T* p, std::common_type_t<T> v) {       \
    *const_cast<T*>(prl_emulator::Aligned(p)) = v; \
  }
PRL_EMULATOR_LOAD(__ldg)
PRL_EMULATOR_LOAD(__ldcs)
PRL_EMULATOR_LOAD(__ldcg)
PRL_EMULATOR_LOAD(__ldca)
PRL_EMULATOR_LOAD(__ldlu)
PRL_EMULATOR_LOAD(__ldcv)
PRL_EMULATOR_STORE(__stcs)
PRL_EMULATOR_STORE(__stcg)
PRL_EMULATOR_STORE(__stwb)
PRL_EMULATOR_STORE(__stwt)

// ---- asynchronous copies to shared memory (cuda_pipeline.h; cp.async). A wait covers committed groups only.
inline void __pipeline_memcpy_async(void* shared, const void* global, size_t bytes) {
  if (bytes != 4 && bytes != 8 && bytes != 16) prl_emulator::Fail("an asynchronous copy of %zu bytes", bytes);
  if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes)
    prl_emulator::Fail("misaligned address in an asynchronous copy of %zu bytes: %p from %p", bytes, shared, global);
  prl_emulator::AskForCopy(shared, global, bytes);
}
inline void __pipeline_commit() { prl_emulator::CloseCopies(); }
inline void __pipeline_wait_prior(size_t later_groups) { prl_emulator::WaitForCopies(later_groups); }

// ---- arithmetic. The fast functions go through base 2 as the hardware's do, so their error is of the same kind.
inline float __expf(float x) { return exp2f(x * 1.4426950408889634f); }
inline float __logf(float x) { return log2f(x) * 0.6931471805599453f; }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log2f(x) * 0.3010299956639812f; }
inline float __exp10f(float x) { return exp2f(x * 3.3219280948873623f); }
inline float __powf(float x, float y) { return exp2f(y * log2f(x)); }
inline float __fdividef(float x, float y) {
  return fabsf(y) > 8.507059173023462e37f && fabsf(y) < INFINITY ? (isinf(x) ? NAN : 0.0f) : x / y;
}
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline float __int2float_rn(int x) { return (float)x; }
inline float __double2float_rn(double x) { return (float)x; }

namespace prl_emulator {
template <typename To, typename From>
To Bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits of another size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace prl_emulator
inline float __uint_as_float(unsigned x) { return prl_emulator::Bits<float>(x); }
inline unsigned __float_as_uint(float x) { return prl_emulator::Bits<unsigned>(x); }
inline float __int_as_float(int x) { return prl_emulator::Bits<float>(x); }
inline int __float_as_int(float x) { return prl_emulator::Bits<int>(x); }
inline double __longlong_as_double(long long x) { return prl_emulator::Bits<double>(x); }
inline long long __double_as_longlong(double x) { return prl_emulator::Bits<long long>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline size_t __cvta_generic_to_shared(const void* p) {
  return (size_t)((const unsigned char*)p - prl_emulator::current->block->shared);
}
[[noreturn]] inline void __trap() { prl_emulator::Fail("__trap()"); }

#define PRL_EMULATOR_MINMAX(R, A, B)                           \
  inline R min(A a, B b) { return (R)a < (R)b ? (R)a : (R)b; } \
  inline R max(A a, B b) { return (R)a > (R)b ? (R)a : (R)b; }
PRL_EMULATOR_MINMAX(int, int, int)
PRL_EMULATOR_MINMAX(unsigned, unsigned, unsigned)
PRL_EMULATOR_MINMAX(unsigned, int, unsigned)
PRL_EMULATOR_MINMAX(unsigned, unsigned, int)
PRL_EMULATOR_MINMAX(long, long, long)
PRL_EMULATOR_MINMAX(unsigned long, unsigned long, unsigned long)
PRL_EMULATOR_MINMAX(unsigned long, long, unsigned long)
PRL_EMULATOR_MINMAX(unsigned long, unsigned long, long)
PRL_EMULATOR_MINMAX(long long, long long, long long)
PRL_EMULATOR_MINMAX(unsigned long long, unsigned long long, unsigned long long)
PRL_EMULATOR_MINMAX(unsigned long long, long long, unsigned long long)
PRL_EMULATOR_MINMAX(unsigned long long, unsigned long long, long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin((double)a, b); }
inline double max(float a, double b) { return fmax((double)a, b); }
inline double min(double a, float b) { return fmin(a, (double)b); }
inline double max(double a, float b) { return fmax(a, (double)b); }
