// One row on the GPU: over a block, or over a cluster of blocks that hold a slice each. Shared by the CUDA skeletons of
// token_logprob, policy_loss and linear_logprob, so that there is one softmax on the device too.
//
// A row is read from memory once. What fits stays in shared memory, each 16-byte pack in the place of the thread that read it, so
// that the gradient needs no barrier for its second look; the rest is read again (from the second-level cache, mostly). A row of
// 151,936 bfloat16 is 304 KB: eight blocks keep 38 KB each, and several blocks per processor overlap one row's loads with
// another's reductions and stores.
//
// Sums are relative to a reference c in units of ln 2, c = max * scale rounded once: 2^(x * scale - c) is then a single fused
// multiply-add away from the logit, with no error from c itself, whatever offset the logits have.
#pragma once

#include <cooperative_groups.h>

#include "kernels/token_logprob/token_logprob.h"
#include "kernels/token_logprob/token_logprob_math.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

namespace prl {

constexpr int kRowThreads = 256;
constexpr int kRowWarps = kRowThreads / 32;
constexpr int kRowUnroll = 4;  // packs that a thread has under way
constexpr double kLn2 = 0.693147180559945309;

// How a row is laid over the machine. Decided once on the host.
struct RowPlan {
  int cluster;        // blocks per row
  int64_t kept;       // packs of a block's slice that stay in shared memory
  size_t shared_bytes;
};

// What the blocks of a row exchange, at the start of dynamic shared memory; the kept packs follow.
struct RowShared {
  float warp_c[kRowWarps];
  float warp_sum[kRowWarps];
  float warp_weighted[kRowWarps];
  float c;                 // of this block's slice
  double sum, weighted;
  double broadcast[4];     // what thread 0 found for all
};
constexpr size_t kRowSharedBytes = (sizeof(RowShared) + 15) / 16 * 16;

// `keep`: there will be a second look.
inline RowPlan PlanRow(const DeviceLimits& limits, int64_t vocab, size_t element, bool keep) {
  const size_t bytes = (size_t)vocab * element;
  RowPlan plan{1, 0, kRowSharedBytes};
  if (!keep) return plan;
  // Four blocks to a processor: enough to overlap one's wait with the others' transfers.
  constexpr size_t kGood = 48 << 10, kMost = 76 << 10;
  if (limits.compute_capability >= 90) {
    while (plan.cluster < 8 && bytes / plan.cluster > kGood) plan.cluster *= 2;
  }
  const size_t limit = limits.shared_bytes - kRowSharedBytes < kMost ? limits.shared_bytes - kRowSharedBytes : kMost;
  const size_t slice = (bytes / 16 + plan.cluster) / plan.cluster * 16;
  plan.kept = (int64_t)((slice < limit ? slice : limit) / 16);
  plan.shared_bytes += (size_t)plan.kept * 16;
  return plan;
}

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

__device__ inline unsigned ClusterSize() {
#if defined(PRL_CUDA_EMULATOR) || __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().num_blocks();
#else
  return 1;
#endif
}
__device__ inline unsigned ClusterRank() {
#if defined(PRL_CUDA_EMULATOR) || __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().block_rank();
#else
  return 0;
#endif
}
__device__ inline void ClusterSync() {
#if defined(PRL_CUDA_EMULATOR) || __CUDA_ARCH__ >= 900
  cooperative_groups::this_cluster().sync();
#else
  __syncthreads();
#endif
}
// The same place in the shared memory of another block of the cluster.
template <typename T>
__device__ inline T* InBlock(T* here, unsigned rank) {
#if defined(PRL_CUDA_EMULATOR) || __CUDA_ARCH__ >= 900
  return cooperative_groups::this_cluster().map_shared_rank(here, rank);
#else
  return here;
#endif
}

// A thread's statistics: sum = sum 2^(x * scale - c), weighted = sum 2^y y with y = x * scale - c. Its share of a row is at most
// a few hundred terms, so float32 does.
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
  // Nothing but -inf yet: measured against 0, so that 2^-inf is 0 and not NaN.
  __device__ float Reference() const { return c == -INFINITY ? 0.0f : c; }
};

template <typename T, int kN>
__device__ inline void AddPacks(ThreadStats* stats, const Pack<T> (&packs)[kN], float scale) {
  float most = -INFINITY;
#pragma unroll
  for (int k = 0; k < kN; ++k) {
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) most = fmaxf(most, ToFloat(packs[k].value[j]));
  }
  stats->Raise(most * scale);
  const float reference = stats->Reference();
#pragma unroll
  for (int k = 0; k < kN; ++k) {
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; ++j) stats->Add(ToFloat(packs[k].value[j]), scale, reference);
  }
}

// The part of a row that this block has: packs first .. last - 1 of the row's; the first block has the head too, the last the tail.
template <typename T>
struct RowSlice {
  const T* row;
  RowCut cut;
  int64_t first, last;
  bool has_head, has_tail;

  __device__ const Pack<T>* packs() const { return reinterpret_cast<const Pack<T>*>(row + cut.head) + first; }
  __device__ int64_t tail_begin() const { return cut.head + cut.packs * Pack<T>::kSize; }
  // Whether element j lies in this block's part.
  __device__ bool Has(int64_t j) const {
    if (j < cut.head) return has_head;
    if (j >= tail_begin()) return has_tail;
    const int64_t pack = (j - cut.head) / Pack<T>::kSize;
    return pack >= first && pack < last;
  }
};
template <typename T>
__device__ inline RowSlice<T> SliceOf(const T* row, int64_t vocab) {
  const RowCut cut = CutRow(row, vocab);
  const int64_t blocks = ClusterSize(), rank = ClusterRank();
  const int64_t share = (cut.packs + blocks - 1) / blocks;
  const int64_t first = min(cut.packs, rank * share);
  return {row, cut, first, min(cut.packs, first + share), rank == 0, rank == blocks - 1};
}

// First look: this thread's statistics of the slice. With kKeep the packs go to `kept`, as many as it holds.
template <bool kKeep, typename T>
__device__ inline ThreadStats LookAt(const RowSlice<T>& slice, float scale, Pack<T>* kept, int64_t keep) {
  ThreadStats stats;
  const Pack<T>* packs = slice.packs();
  const int64_t n = slice.last - slice.first;
  int64_t i = threadIdx.x;
  for (; i + (kRowUnroll - 1) * kRowThreads < n; i += kRowUnroll * kRowThreads) {
    Pack<T> pack[kRowUnroll];
#pragma unroll
    for (int k = 0; k < kRowUnroll; ++k) pack[k] = LoadStreaming(packs + i + k * kRowThreads);
    AddPacks(&stats, pack, scale);
    if (kKeep) {
#pragma unroll
      for (int k = 0; k < kRowUnroll; ++k) {
        if (i + k * kRowThreads < keep) kept[i + k * kRowThreads] = pack[k];
      }
    }
  }
  for (; i < n; i += kRowThreads) {
    const Pack<T> pack[1] = {LoadStreaming(packs + i)};
    AddPacks(&stats, pack, scale);
    if (kKeep && i < keep) kept[i] = pack[0];
  }
  const auto single = [&](float logit) {
    stats.Raise(logit * scale);
    stats.Add(logit, scale, stats.Reference());
  };
  if (slice.has_head && threadIdx.x < slice.cut.head) single(ToFloat(slice.row[threadIdx.x]));
  if (slice.has_tail && threadIdx.x < slice.cut.tail) single(ToFloat(slice.row[slice.tail_begin() + threadIdx.x]));
  return stats;
}

// The statistics of the row from those of all threads of its blocks, the same bits in every thread: max in units of ln 2
// relative to scale (so inv_temperature is ln 2 in what follows). Fixed order: lanes, warps, blocks.
__device__ inline RowStats Combine(ThreadStats mine, RowShared* shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const auto in_warp = [](float x, auto op) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = op(x, __shfl_xor_sync(~0u, x, offset));
    return x;
  };
  const auto most = [](float a, float b) { return fmaxf(a, b); };
  const auto plus = [](float a, float b) { return a + b; };
  const float warp_c = in_warp(mine.c, most);
  // A warp that saw no finite logit has nothing to rescale; a NaN in the sum survives the product.
  const float factor = mine.c == warp_c ? 1.0f : Exp2(mine.c - warp_c);
  const float shift = factor == 0.0f || mine.c == warp_c ? 0.0f : mine.c - warp_c;
  const float sum = in_warp(mine.sum * factor, plus), weighted = in_warp((mine.weighted + shift * mine.sum) * factor, plus);
  if (lane == 0) {
    shared->warp_c[warp] = warp_c;
    shared->warp_sum[warp] = sum;
    shared->warp_weighted[warp] = weighted;
  }
  __syncthreads();
  // The same few sums in every thread: cheaper than handing one thread's result round.
  const auto merge = [](int n, auto part, float* c, double* sum, double* weighted) {
    *c = -INFINITY;
    for (int k = 0; k < n; ++k) *c = fmaxf(*c, part(k).c);
    *sum = *weighted = 0.0;
    for (int k = 0; k < n; ++k) {
      const auto p = part(k);
      const float shift = p.c == *c ? 0.0f : p.c - *c, factor = Exp2(shift);
      *sum += p.sum * (double)factor;
      *weighted += factor == 0.0f ? 0.0 : (p.weighted + (double)shift * p.sum) * (double)factor;
    }
  };
  struct Part {
    float c;
    double sum, weighted;
  };
  float c;
  double total, total_weighted;
  merge(kRowWarps, [&](int k) { return Part{shared->warp_c[k], (double)shared->warp_sum[k], (double)shared->warp_weighted[k]}; }, &c, &total,
        &total_weighted);
  const int blocks = (int)ClusterSize();
  if (blocks > 1) {
    if (threadIdx.x == 0) {
      shared->c = c;
      shared->sum = total;
      shared->weighted = total_weighted;
    }
    ClusterSync();
    merge(blocks, [&](int k) {
      const RowShared* other = InBlock(shared, (unsigned)k);
      return Part{other->c, other->sum, other->weighted};
    }, &c, &total, &total_weighted);
  }
  return {c, total, total_weighted * kLn2};
}

// log-prob, entropy, log-sum-exp of the row; stats as Combine gives them.
__device__ inline RowResult FinishOnDevice(RowStats stats, float target_logit, float scale, float inv_temperature) {
  RowResult result = FinishRow(stats, (double)target_logit * (double)scale, kLn2);
  result.lse = (float)((double)stats.max * ((double)inv_temperature / (double)scale) + log(stats.sum));
  return result;
}

// Second look: d logits = p (a + b log p), p = 2^y / sum, at every symbol; the target's is put right afterwards.
template <typename T>
__device__ inline void WriteGradient(const RowSlice<T>& slice, T* out, RowStats stats, RowGradient g, float scale, const Pack<T>* kept,
                                     int64_t keep) {
  const float a = (float)(((double)g.a - (double)g.b * log(stats.sum)) / stats.sum), b = (float)((double)g.b * kLn2 / stats.sum);
  const float c = stats.max;
  const auto gradient = [&](float logit) {
    const float y = fmaf(logit, scale, -c);
    return Exp2(y) * fmaf(b, fmaxf(y, -3.0e38f), a);
  };
  const Pack<T>* packs = slice.packs();
  Pack<T>* to = reinterpret_cast<Pack<T>*>(out + slice.cut.head) + slice.first;
  const int64_t n = slice.last - slice.first;
  const auto convert = [&](const Pack<T>& pack) {
    Pack<T> made;
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; j += 2) {
      FromFloats(gradient(ToFloat(pack.value[j])), gradient(ToFloat(pack.value[j + 1])), made.value + j);
    }
    return made;
  };
  const int64_t in_shared = min(n, keep);
  int64_t i = threadIdx.x;
  for (; i < in_shared; i += kRowThreads) StoreStreaming(to + i, convert(kept[i]));
  for (; i < n; i += kRowThreads) StoreStreaming(to + i, convert(packs[i]));
  const auto single = [&](int64_t j) { out[j] = FromFloat<T>(gradient(ToFloat(slice.row[j]))); };
  if (slice.has_head && threadIdx.x < slice.cut.head) single(threadIdx.x);
  if (slice.has_tail && threadIdx.x < slice.cut.tail) single(slice.tail_begin() + threadIdx.x);
}

// The target's gradient from its log-probability: its two terms in float32, rounded to the storage type once.
template <typename T>
__device__ inline void WriteTarget(const RowSlice<T>& slice, T* out, int32_t target, RowResult result, RowGradient g, float at_target) {
  __syncthreads();  // after this block's own writes
  if (threadIdx.x != 0 || !slice.Has(target)) return;
  const float p = (float)exp((double)result.logprob);
  out[target] = FromFloat<T>((p > 0.0f ? p * (g.a + g.b * result.logprob) : 0.0f) + at_target);
}

template <typename T>
__device__ inline void WriteZeros(const RowSlice<T>& slice, T* out) {
  Pack<T>* to = reinterpret_cast<Pack<T>*>(out + slice.cut.head) + slice.first;
  Pack<T> zeros;
#pragma unroll
  for (int j = 0; j < Pack<T>::kSize; j += 2) FromFloats(0.0f, 0.0f, zeros.value + j);
  for (int64_t i = threadIdx.x; i < slice.last - slice.first; i += kRowThreads) StoreStreaming(to + i, zeros);
  if (slice.has_head && threadIdx.x < slice.cut.head) out[threadIdx.x] = zeros.value[0];
  if (slice.has_tail && threadIdx.x < slice.cut.tail) out[slice.tail_begin() + threadIdx.x] = zeros.value[0];
}

// True when the row has a log-softmax; else it is reported.
__device__ inline bool CheckRow(RowStats stats, int64_t row, CudaReport* report) {
  if (!RowIsBad(stats)) return true;
  if (threadIdx.x == 0) ReportFailure(report, RowIsAllMasked(stats) ? Failure::kRowAllMasked : Failure::kRowNonFinite, row, 0u);
  return false;
}
__device__ inline bool CheckTarget(int32_t target, int64_t vocab, int64_t row, CudaReport* report) {
  if (target >= 0 && target < vocab) return true;
  if (threadIdx.x == 0) ReportFailure(report, Failure::kTarget, row, (unsigned)target);
  return false;
}

}  // namespace prl
