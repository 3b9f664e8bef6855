// One row on the GPU: over a block, or over a cluster of blocks that hold a slice each. Shared by the CUDA skeletons of
// token_logprob, policy_loss and linear_logprob, so that there is one softmax on the device too.
//
// A row is read from memory once. What fits stays in shared memory, each 16-byte pack in the place of the thread that
// asked for it, so that no look needs a barrier; the rest is read again (from the second-level cache, mostly). A row of
// 151,936 bfloat16 is 304 KB: eight blocks keep 38 KB each, and several blocks per processor overlap one row's loads
// with another's reductions and stores.
//
// Sums are relative to a reference c in units of ln 2, c = max * scale rounded once: 2^(x * scale - c) is then a single
// fused multiply-add away from the logit, with no error from c itself, whatever offset the logits have.
//
// What is once per row and in double (a logarithm, a reciprocal, the loss of a token) is done by one thread of each
// block and handed round: GPUs for games do 2 double operations a cycle and processor. The row waits meanwhile.
#pragma once

#include "kernels/failures_cuda.h"
#include "kernels/token_logprob/token_logprob.h"
#include "kernels/token_logprob/token_logprob_math.h"
#include "kernels/token_logprob/token_logprob_stats_cuda.h"
#include "runtime/cuda/async_copy.h"
#include "runtime/cuda/cluster.h"
#include "runtime/cuda/device_code.h"
#include "runtime/cuda/launch.h"

// What to vary first on a new GPU (docs/performance.md): -DPRL_ROW_...=n.
#ifndef PRL_ROW_THREADS
#define PRL_ROW_THREADS 256
#endif
#ifndef PRL_ROW_UNROLL
#define PRL_ROW_UNROLL 4
#endif
#ifndef PRL_ROW_AHEAD
#define PRL_ROW_AHEAD 3
#endif
#ifndef PRL_ROW_BLOCKS
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define PRL_ROW_BLOCKS 4
#else
#define PRL_ROW_BLOCKS 5
#endif
#endif
#ifndef PRL_ROW_CLUSTER
#define PRL_ROW_CLUSTER 8
#endif

namespace prl {

constexpr int kRowThreads = PRL_ROW_THREADS;
constexpr int kRowWarps = kRowThreads / 32;
constexpr int kRowUnroll = PRL_ROW_UNROLL;  // packs of a group: what a thread works on at a time
constexpr int kRowAhead = PRL_ROW_AHEAD;    // groups that a thread asks for before it needs them
// Blocks that share a processor when rows are kept: the kernels' registers, and from 9.0 on the clusters, are chosen by
// it. Below 9.0 a block keeps what it can, and its shared memory has room for 3 of them: registers for 4 do.
constexpr int kRowBlocks = PRL_ROW_BLOCKS;
constexpr int kRowCluster = PRL_ROW_CLUSTER;  // most blocks of a row; more than 8 is not portable
constexpr int kRowOnceBlocks = 4;             // the same for kernels that look once: they keep nothing
constexpr float kLog2E = 1.44269504f;
constexpr double kLn2 = 0.693147180559945309;

// How a row is laid over the machine. Decided once on the host.
struct RowPlan {
  int cluster;  // blocks per row
  int kept;     // packs of a block's slice that stay in shared memory
  size_t shared_bytes;
};

// A part of a row: sum = sum 2^y, weighted = sum 2^y y with y = x * scale - c.
struct RowPart {
  double sum, weighted;
  float c;
};

// What the second look needs of the row.
struct RowSecondLook {
  enum Kind : int { kNothing, kZeros, kGradient } kind;
  float c, a, b;    // d logits = 2^y (a + b y)
  float at_target;  // the target's, which has its own term
};

// What the threads of a row exchange, at the start of dynamic shared memory; the kept packs follow.
struct RowShared {
  RowPart warp[kRowWarps];
  RowPart block[kRowCluster];  // each block of the cluster writes its own into all
  RowSecondLook second;
};
constexpr size_t kRowSharedBytes = (sizeof(RowShared) + 15) / 16 * 16;

// For kernels that look twice. The first look of the others needs kRowSharedBytes and a block per row.
inline RowPlan PlanRow(const DeviceLimits& limits, int64_t vocab, size_t element) {
  // A block's share of a processor's shared memory, of which CUDA takes 1 KB per block.
  const auto share = [&](int blocks) { return (limits.shared_bytes + 1024) / blocks - 1024 - kRowSharedBytes; };
  const size_t bytes = (size_t)vocab * element, least_blocks = 3;
  RowPlan plan{1, 0, 0};
  while (plan.cluster < kRowCluster && 2 * plan.cluster <= limits.cluster && bytes / plan.cluster > share(kRowBlocks)) {
    plan.cluster *= 2;
  }
  const size_t slice = (bytes / 16 + plan.cluster) / plan.cluster, limit = share(least_blocks) / 16;
  // All of it, or whole rounds of the threads, so that pack i is thread i % kRowThreads' either way.
  plan.kept = (int)(slice < limit ? slice : limit / kRowThreads * kRowThreads);
  plan.shared_bytes = kRowSharedBytes + (size_t)plan.kept * 16;
  return plan;
}

// The plan for `kernel`, in clusters that this GPU can run.
template <typename... Parameters>
inline Status PlanRow(void (*kernel)(Parameters...), int64_t vocab, size_t element, RowPlan* plan) {
  DeviceLimits limits;
  PRL_RETURN_IF_ERROR(CudaLimits(&limits));
  for (;; limits.cluster = plan->cluster / 2) {
    *plan = PlanRow(limits, vocab, element);
    if (plan->cluster == 1) return Ok();
    bool fits = false;
    const LaunchShape one{plan->cluster, kRowThreads, plan->shared_bytes, plan->cluster};
    PRL_RETURN_IF_ERROR(CudaClusterFits((const void*)kernel, one, &fits));
    if (fits) return Ok();
  }
}

// The part of a row that this block has: packs first .. first + count - 1 of the row's; the first block has the head
// too, the last the tail.
template <typename T>
struct RowSlice {
  const T* row;
  RowCut cut;
  int64_t first;
  int count;
  bool has_head, has_tail;

  __device__ const Pack<T>* packs() const { return reinterpret_cast<const Pack<T>*>(row + cut.head) + first; }
  __device__ Pack<T>* packs_of(T* out) const { return reinterpret_cast<Pack<T>*>(out + cut.head) + first; }
  __device__ int64_t tail_begin() const { return cut.head + cut.packs * Pack<T>::kSize; }
  // The elements that belong to no pack, one a thread: f(index in the row).
  template <typename F>
  __device__ void ForSingle(F f) const {
    if (has_head && threadIdx.x < cut.head) f((int64_t)threadIdx.x);
    if (has_tail && threadIdx.x < cut.tail) f(tail_begin() + threadIdx.x);
  }
  // The thread of this block that reads and writes element j, or -1 when it lies in another block's part.
  __device__ int ThreadOf(int64_t j) const {
    if (j < cut.head) return has_head ? (int)j : -1;
    if (j >= tail_begin()) return has_tail ? (int)(j - tail_begin()) : -1;
    const int64_t pack = (j - cut.head) / Pack<T>::kSize - first;
    return pack >= 0 && pack < count ? (int)(pack % kRowThreads) : -1;
  }
};
template <typename T>
__device__ inline RowSlice<T> SliceOf(const T* row, int64_t vocab) {
  const RowCut cut = CutRow(row, vocab);
  const int64_t blocks = ClusterSize(), rank = ClusterRank();
  const int64_t share = (cut.packs + blocks - 1) / blocks;
  const int64_t first = min(cut.packs, rank * share);
  return {row, cut, first, (int)min(cut.packs - first, share), rank == 0, rank == blocks - 1};
}

// First look: this thread's statistics of the slice. The first `keep` packs go to `kept`; the others are read with
// `load`.
template <typename T, typename Load>
__device__ inline ThreadStats LookAt(const RowSlice<T>& slice, float scale, Pack<T>* kept, int keep, Load load) {
  constexpr int kGroup = kRowUnroll * kRowThreads;
  // Combine waits: by then every block of the cluster runs. Nothing is published, so no fence delays the first load.
  ClusterArriveRelaxed();
  ThreadStats stats;
  // The packs at `at` and every kRowThreads after it, `left` of them and those between: a whole group, or what is left.
  // All loads of either are under way at once.
  const auto add = [&](const Pack<T>* at, int left, auto get) {
    Pack<T> group[kRowUnroll];
    group[0] = get(at);
    if (left > (kRowUnroll - 1) * kRowThreads) {
#pragma unroll
      for (int k = 1; k < kRowUnroll; ++k) group[k] = get(at + k * kRowThreads);
      AddPacks(&stats, group, scale);
    } else {
#pragma unroll
      for (int k = 1; k < kRowUnroll; ++k) {
        if (left > k * kRowThreads) group[k] = get(at + k * kRowThreads);
      }
#pragma unroll
      for (int k = 1; k < kRowUnroll; ++k) {
        if (left <= k * kRowThreads) group[k] = group[0];
      }
      AddPacks(&stats, group, scale, (left + kRowThreads - 1) / kRowThreads);
    }
  };
  const int in_shared = min(slice.count, keep);
  const Pack<T>* from = slice.packs() + threadIdx.x;
  if (in_shared > 0) {
    Pack<T>* to = kept + threadIdx.x;
    int left_to_ask = in_shared - (int)threadIdx.x;
    const auto ask = [&] {
#pragma unroll
      for (int k = 0; k < kRowUnroll; ++k) {
        if (left_to_ask > k * kRowThreads) AskForCopy(to + k * kRowThreads, from + k * kRowThreads);
      }
      CloseCopies();
      from += kGroup;
      to += kGroup;
      left_to_ask -= kGroup;
    };
    for (int group = 0; group < kRowAhead; ++group) ask();
    const Pack<T>* at = kept + threadIdx.x;
    for (int left = in_shared - (int)threadIdx.x; left > 0; left -= kGroup, at += kGroup) {
      ask();
      WaitCopies<kRowAhead>();
      add(at, left, [](const Pack<T>* pack) { return *pack; });
    }
  }
  from = slice.packs() + in_shared + threadIdx.x;
  for (int left = slice.count - in_shared - (int)threadIdx.x; left > 0; left -= kGroup, from += kGroup)
    add(from, left, load);
  slice.ForSingle([&](int64_t j) {
    const float logit = ToFloat(slice.row[j]);
    stats.Raise(logit * scale);
    stats.Add(logit, scale, stats.Reference());
  });
  return stats;
}
// Of a kernel that looks once, of one that looks twice.
template <typename T>
__device__ inline ThreadStats LookOnce(const RowSlice<T>& slice, float scale) {
  return LookAt(slice, scale, (Pack<T>*)nullptr, 0, [](const Pack<T>* pack) { return LoadStreaming(pack); });
}
template <typename T>
__device__ inline ThreadStats LookAndKeep(const RowSlice<T>& slice, float scale, Pack<T>* kept, int keep) {
  return LookAt(slice, scale, kept, keep, [](const Pack<T>* pack) { return *pack; });  // to be found in the cache again
}

// The parts of the lanes of a warp against the largest c; the sums are right in lane 0. Fixed order.
__device__ inline RowPart MergeLanes(RowPart part) {
  float c = part.c;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) c = fmaxf(c, __shfl_xor_sync(~0u, c, offset));
  // A part that saw no finite logit has nothing to rescale; a NaN in the sum survives the product.
  const float shift = part.c == c ? 0.0f : part.c - c, factor = Exp2(shift);
  double sum = part.sum * (double)factor;
  double weighted = factor == 0.0f ? 0.0 : (part.weighted + (double)shift * part.sum) * (double)factor;
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    sum += __shfl_down_sync(~0u, sum, offset);
    weighted += __shfl_down_sync(~0u, weighted, offset);
  }
  return {sum, weighted, c};
}

// The statistics of the row from those of all threads of its blocks: in thread 0 of each block, the same bits in all of
// them; in units of ln 2 and times scale (so inv_temperature is ln 2 in what follows). Order: lanes, warps, blocks. All
// threads must call.
__device__ inline RowStats Combine(ThreadStats mine, RowShared* shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const auto in_warp = [](float x, auto op) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) x = op(x, __shfl_xor_sync(~0u, x, offset));
    return x;
  };
  const auto plus = [](float a, float b) { return a + b; };
  const float warp_c = in_warp(mine.c, [](float a, float b) { return fmaxf(a, b); });
  const float shift = mine.c == warp_c ? 0.0f : mine.c - warp_c, factor = Exp2(shift);
  const float sum = in_warp(mine.sum * factor, plus);
  const float weighted = in_warp(factor == 0.0f ? 0.0f : (mine.weighted + shift * mine.sum) * factor, plus);
  if (lane == 0) shared->warp[warp] = {sum, weighted, warp_c};
  __syncthreads();
  constexpr RowPart kNone = {0.0, 0.0, -INFINITY};
  RowPart part = kNone;
  if (warp == 0) part = MergeLanes(lane < kRowWarps ? shared->warp[lane] : kNone);
  const int blocks = (int)ClusterSize();
  if (blocks > 1) {
    ClusterWait();  // for LookAt's arrival
    if (warp == 0) {
      part.sum = __shfl_sync(~0u, part.sum, 0);
      part.weighted = __shfl_sync(~0u, part.weighted, 0);
      if (lane < blocks) *InBlock(&shared->block[ClusterRank()], lane) = part;
    }
    ClusterArrive();
    ClusterWait();
    if (warp == 0) part = MergeLanes(lane < blocks ? shared->block[lane] : kNone);
  }
  return {part.c, part.sum, part.weighted * kLn2};
}

// log-prob and entropy of the row, and what they have in common with its gradient: one logarithm and one division.
struct RowEnd {
  RowResult result;  // its lse is in units of ln 2 times the rounded scale: LogSumExp has it right
  double log_sum, inverse_sum;
};
// stats as Combine gives them.
__device__ inline RowEnd FinishOnDevice(RowStats stats, float target_logit, float scale) {
  RowEnd end;
  end.log_sum = log(stats.sum);
  end.inverse_sum = 1.0 / stats.sum;
  end.result =
      FinishRow(stats, (double)target_logit * (double)scale, kLn2, end.log_sum, stats.weighted * end.inverse_sum);
  end.result.top1 = target_logit * scale >= stats.max;  // the largest product is in float32 too
  return end;
}
__device__ inline float LogSumExp(RowStats stats, const RowEnd& end, float scale, float inv_temperature) {
  return (float)((double)stats.max * ((double)inv_temperature / (double)scale) + end.log_sum);
}

// d logits = p (a + b log p) with p = 2^y / sum; the target's from its log-probability, its two terms in float32,
// rounded to the storage type once.
__device__ inline RowSecondLook SecondLook(RowStats stats, const RowEnd& end, float d_logprob, float d_entropy,
                                           float inv_temperature) {
  const RowResult& result = end.result;
  const RowGradient g = GradientOf(d_logprob, d_entropy, result.entropy, inv_temperature);
  const float p = expf(result.logprob);
  RowSecondLook look;
  look.kind = RowSecondLook::kGradient;
  look.c = stats.max;
  look.a = (float)(((double)g.a - (double)g.b * end.log_sum) * end.inverse_sum);
  look.b = (float)((double)g.b * kLn2 * end.inverse_sum);
  look.at_target = (p > 0.0f ? p * (g.a + g.b * result.logprob) : 0.0f) + d_logprob * inv_temperature;
  return look;
}

// Every element of the slice through `gradient`. What a thread writes is what it read: `out` may be the logits.
template <typename T, typename Gradient>
__device__ inline void WriteEach(const RowSlice<T>& slice, T* out, const Pack<T>* kept, int keep, Gradient gradient) {
  const auto convert = [&](const Pack<T>& pack) {
    Pack<T> made;
    float logits[Pack<T>::kSize];
    ToFloats(pack, logits);
#pragma unroll
    for (int j = 0; j < Pack<T>::kSize; j += 2)
      FromFloats(gradient(logits[j]), gradient(logits[j + 1]), made.value + j);
    return made;
  };
  const int in_shared = min(slice.count, keep);
  const Pack<T>* from = kept + threadIdx.x;
  Pack<T>* to = slice.packs_of(out) + threadIdx.x;
#pragma unroll 2
  for (int left = in_shared - (int)threadIdx.x; left > 0; left -= kRowThreads, from += kRowThreads, to += kRowThreads) {
    StoreStreaming(to, convert(*from));
  }
  // All loads of a group before its first store: the compiler cannot know that they do not overlap.
  from = slice.packs() + in_shared + threadIdx.x;
  to = slice.packs_of(out) + in_shared + threadIdx.x;
  constexpr int kGroup = kRowUnroll * kRowThreads;
  for (int left = slice.count - in_shared - (int)threadIdx.x; left > 0; left -= kGroup, from += kGroup, to += kGroup) {
    Pack<T> group[kRowUnroll];
#pragma unroll
    for (int k = 0; k < kRowUnroll; ++k) {
      if (left > k * kRowThreads) group[k] = from[k * kRowThreads];
    }
#pragma unroll
    for (int k = 0; k < kRowUnroll; ++k) {
      if (left > k * kRowThreads) StoreStreaming(to + k * kRowThreads, convert(group[k]));
    }
  }
  slice.ForSingle([&](int64_t j) { out[j] = FromFloat<T>(gradient(ToFloat(slice.row[j]))); });
}

template <typename T>
__device__ inline void WriteZeros(const RowSlice<T>& slice, T* out) {
  Pack<T>* to = slice.packs_of(out);
  Pack<T> zeros;
#pragma unroll
  for (int j = 0; j < Pack<T>::kSize; j += 2) FromFloats(0.0f, 0.0f, zeros.value + j);
  for (int i = threadIdx.x; i < slice.count; i += kRowThreads) StoreStreaming(to + i, zeros);
  slice.ForSingle([&](int64_t j) { out[j] = zeros.value[0]; });
}

// Second look, as thread 0 has prepared it in shared memory (and a barrier made known).
template <typename T>
__device__ inline void WriteGradient(const RowSlice<T>& slice, T* out, const RowSecondLook& look, int32_t target,
                                     float scale, const Pack<T>* kept, int keep) {
  if (look.kind == RowSecondLook::kNothing) return;
  if (look.kind == RowSecondLook::kZeros) return WriteZeros(slice, out);
  const float c = look.c, a = look.a, b = look.b;
  if (b == 0.0f) {
    WriteEach(slice, out, kept, keep, [=](float logit) { return Exp2(fmaf(logit, scale, -c)) * a; });
  } else {
    WriteEach(slice, out, kept, keep, [=](float logit) {
      const float y = fmaf(logit, scale, -c);
      return Exp2(y) * fmaf(b, fmaxf(y, -3.0e38f), a);
    });
  }
  // By the thread that has just written the target's place.
  if ((int)threadIdx.x == slice.ThreadOf(target)) out[target] = FromFloat<T>(look.at_target);
}

// True when the row has a log-softmax; else it is reported. By thread 0.
__device__ inline bool CheckRow(RowStats stats, int64_t row, CudaReport* report) {
  if (!RowIsBad(stats)) return true;
  ReportFailure(report, RowIsAllMasked(stats) ? Failure::kRowAllMasked : Failure::kRowNonFinite, row, 0u);
  return false;
}
// The logit of the row's token, for thread 0. It is under way during the first look, and comes before anyone writes:
// Combine has a barrier. A target outside the vocabulary is reported after that look (CheckTarget).
template <typename T>
__device__ inline float TargetLogit(const T* row, int32_t target, int64_t vocab) {
  return threadIdx.x == 0 && target >= 0 && target < vocab ? ToFloat(row[target]) : 0.0f;
}
__device__ inline bool CheckTarget(int32_t target, int64_t vocab, int64_t row, CudaReport* report) {
  if (target >= 0 && target < vocab) return true;
  if (threadIdx.x == 0) ReportFailure(report, Failure::kTarget, row, (unsigned)target);
  return false;
}

}  // namespace prl
