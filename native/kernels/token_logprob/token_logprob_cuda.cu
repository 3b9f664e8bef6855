// Forward: one block per row, one look. Backward: one block or cluster per row, two looks at one reading.
#include "kernels/token_logprob/token_logprob_row_cuda.h"

namespace prl {
namespace {

__device__ void Write(const TokenLogprobArgs& args, int64_t r, RowResult result) {
  if (args.logprob) args.logprob[r] = result.logprob;
  if (args.entropy) args.entropy[r] = result.entropy;
  if (args.top1) args.top1[r] = result.top1;
}

template <typename T>
__global__ void __launch_bounds__(kRowThreads, kRowOnceBlocks)
    ForwardKernel(TokenLogprobArgs args, CudaReport* report) {
  const int64_t r = blockIdx.x;
  const int32_t target = args.targets[r], active = args.mask ? args.mask[r] : 1;  // under way together
  if (active == 0) {
    if (threadIdx.x == 0) {
      Write(args, r, RowResult{});
      if (args.lse) args.lse[r] = 0.0f;
    }
    return;
  }
  const T* row = static_cast<const T*>(args.logits) + r * args.stride;
  const float target_logit = TargetLogit(row, target, args.vocab);
  const float inv_temperature = 1.0f / args.temperature, scale = inv_temperature * kLog2E;
  RowShared* shared = reinterpret_cast<RowShared*>(SharedMemory());
  const RowStats stats = Combine(LookOnce(SliceOf(row, args.vocab), scale), shared);
  if (threadIdx.x != 0 || !CheckTarget(target, args.vocab, args.first_row + r, report) ||
      !CheckRow(stats, args.first_row + r, report))
    return;
  const RowEnd end = FinishOnDevice(stats, target_logit, scale);
  Write(args, r, end.result);
  if (args.lse) args.lse[r] = LogSumExp(stats, end, scale, inv_temperature);
}

template <typename T>
__global__ void __launch_bounds__(kRowThreads, kRowBlocks)
    BackwardKernel(TokenLogprobBackwardArgs args, int keep, CudaReport* report) {
  const TokenLogprobArgs& f = args.forward;
  const int64_t r = blockIdx.x / ClusterSize();
  const T* row = static_cast<const T*>(f.logits) + r * f.stride;
  T* out = static_cast<T*>(args.d_logits) + r * f.stride;
  const RowSlice<T> slice = SliceOf(row, f.vocab);
  // Under way together
  const float d_logprob = args.d_logprob[r], d_entropy = args.d_entropy ? args.d_entropy[r] : 0.0f;
  const int32_t target = f.targets[r], active = f.mask ? f.mask[r] : 1;
  // The same in all blocks of the cluster: none waits for one that has left.
  if (active == 0 || (d_logprob == 0.0f && d_entropy == 0.0f)) return WriteZeros(slice, out);
  const float target_logit = TargetLogit(row, target, f.vocab);
  const float inv_temperature = 1.0f / f.temperature, scale = inv_temperature * kLog2E;
  RowShared* shared = reinterpret_cast<RowShared*>(SharedMemory());
  Pack<T>* kept = reinterpret_cast<Pack<T>*>(SharedMemory() + kRowSharedBytes);
  const RowStats stats = Combine(LookAndKeep(slice, scale, kept, keep), shared);
  if (threadIdx.x == 0) {
    shared->second.kind = RowSecondLook::kNothing;
    if (CheckTarget(target, f.vocab, f.first_row + r, report) && CheckRow(stats, f.first_row + r, report)) {
      const RowEnd end = FinishOnDevice(stats, target_logit, scale);
      shared->second = SecondLook(stats, end, d_logprob, d_entropy, inv_temperature);
    }
  }
  __syncthreads();
  WriteGradient(slice, out, shared->second, target, scale, kept, keep);
}

template <typename T>
Status LaunchBackward(const TokenLogprobBackwardArgs& args, const CudaCall& call) {
  RowPlan plan;
  PRL_RETURN_IF_ERROR(PlanRow(BackwardKernel<T>, args.forward.vocab, sizeof(T), &plan));
  return Launch("token_logprob", call.stream,
                {args.forward.rows * plan.cluster, kRowThreads, plan.shared_bytes, plan.cluster}, BackwardKernel<T>,
                args, plan.kept, call.report);
}

Status NotFloat() { return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32"); }

}  // namespace

Status TokenLogprobCuda(const TokenLogprobArgs& args, const CudaCall& call) {
  const LaunchShape shape{args.rows, kRowThreads, kRowSharedBytes};
  switch (args.dtype) {
    case DType::kFloat32: return Launch("token_logprob", call.stream, shape, ForwardKernel<float>, args, call.report);
    case DType::kBFloat16:
      return Launch("token_logprob", call.stream, shape, ForwardKernel<BFloat16>, args, call.report);
    case DType::kFloat16: return Launch("token_logprob", call.stream, shape, ForwardKernel<Float16>, args, call.report);
    default: return NotFloat();
  }
}

Status TokenLogprobBackwardCuda(const TokenLogprobBackwardArgs& args, const CudaCall& call) {
  PRL_RETURN_IF_ERROR(CheckAlignment(args.forward.logits, args.d_logits));
  switch (args.forward.dtype) {
    case DType::kFloat32: return LaunchBackward<float>(args, call);
    case DType::kBFloat16: return LaunchBackward<BFloat16>(args, call);
    case DType::kFloat16: return LaunchBackward<Float16>(args, call);
    default: return NotFloat();
  }
}

}  // namespace prl
