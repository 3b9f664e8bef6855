// One block per row, one pass over memory: each thread keeps online statistics of its share, then the block merges them.
#include <cub/block/block_reduce.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/token_logprob/token_logprob.h"
#include "kernels/token_logprob/token_logprob_math.h"
#include "runtime/cuda/launch.h"

namespace prl {
namespace {

constexpr int kThreads = 512;

__device__ float AsFloat(float x) { return x; }
__device__ float AsFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ float AsFloat(__half x) { return __half2float(x); }

// A thread's statistics in float32; its share of a row is at most a few hundred terms, the merge is in double.
struct ThreadStats {
  float max = -INFINITY, sum = 0.0f, weighted = 0.0f;

  __device__ void Add(float logit, float inv_temperature) {
    if (logit == -INFINITY) return;
    if (logit > max) {
      const float shift = sum == 0.0f ? 0.0f : (max - logit) * inv_temperature;
      const float scale = __expf(shift);
      weighted = scale == 0.0f ? 0.0f : scale * (weighted + shift * sum);
      sum *= scale;
      max = logit;
    }
    const float x = (logit - max) * inv_temperature, e = __expf(x);  // NaN and +inf leave a NaN in the sum
    sum += e;
    weighted += e * fmaxf(x, -3.0e38f);
  }
};

struct MergeOp {
  float inv_temperature;
  __device__ RowStats operator()(const RowStats& a, const RowStats& b) const { return Merge(a, b, inv_temperature); }
};

__device__ void Write(const TokenLogprobArgs& args, int64_t r, RowResult result) {
  if (args.logprob) args.logprob[r] = result.logprob;
  if (args.entropy) args.entropy[r] = result.entropy;
  if (args.lse) args.lse[r] = result.lse;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) TokenLogprobKernel(TokenLogprobArgs args, int64_t* bad_row) {
  const int64_t r = blockIdx.x;
  if (args.mask && args.mask[r] == 0) {
    if (threadIdx.x == 0) Write(args, r, RowResult{});
    return;
  }
  const T* row = static_cast<const T*>(args.logits) + r * args.stride;
  const float inv_temperature = 1.0f / args.temperature;

  constexpr int kVector = 16 / sizeof(T);
  struct alignas(16) Pack {
    T value[kVector];
  };
  // The row's start is aligned only when the stride is: take single elements up to the first 16-byte boundary.
  const int64_t misaligned = (reinterpret_cast<uintptr_t>(row) / sizeof(T)) % kVector;
  const int64_t head = min(args.vocab, misaligned ? kVector - misaligned : (int64_t)0);
  const int64_t packs = (args.vocab - head) / kVector;

  ThreadStats mine;
  for (int64_t i = threadIdx.x; i < head; i += kThreads) mine.Add(AsFloat(row[i]), inv_temperature);
  const Pack* body = reinterpret_cast<const Pack*>(row + head);
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
    const Pack pack = body[i];
#pragma unroll
    for (int j = 0; j < kVector; ++j) mine.Add(AsFloat(pack.value[j]), inv_temperature);
  }
  for (int64_t i = head + packs * kVector + threadIdx.x; i < args.vocab; i += kThreads) mine.Add(AsFloat(row[i]), inv_temperature);

  using Reduce = cub::BlockReduce<RowStats, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  const RowStats stats = Reduce(storage).Reduce(RowStats{mine.max, (double)mine.sum, (double)mine.weighted}, MergeOp{inv_temperature});
  if (threadIdx.x != 0) return;
  if (RowIsBad(stats)) {
    atomicMin(reinterpret_cast<long long*>(bad_row), 2ll * (args.first_row + r) + (RowIsAllMasked(stats) ? 1 : 0));
    return;
  }
  Write(args, r, FinishRow(stats, AsFloat(row[args.targets[r]]), inv_temperature));
}

}  // namespace

Status TokenLogprobCuda(const TokenLogprobArgs& args, int64_t* bad_row, void* stream) {
  if (args.rows == 0) return Ok();
  const cudaStream_t queue = static_cast<cudaStream_t>(stream);
  const dim3 grid((unsigned)args.rows);
  switch (args.dtype) {
    case DType::kFloat32: TokenLogprobKernel<float><<<grid, kThreads, 0, queue>>>(args, bad_row); break;
    case DType::kBFloat16: TokenLogprobKernel<__nv_bfloat16><<<grid, kThreads, 0, queue>>>(args, bad_row); break;
    case DType::kFloat16: TokenLogprobKernel<__half><<<grid, kThreads, 0, queue>>>(args, bad_row); break;
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
  PRL_CUDA_CHECK_LAUNCH("token_logprob");
  return Ok();
}

}  // namespace prl
