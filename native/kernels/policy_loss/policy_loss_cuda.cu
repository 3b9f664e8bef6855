// A kernel that lays out what each token brings, one sweep over the rows, the sums. Where NeedsSequence, or without a
// gradient: log-probabilities, loss, and the rows once more.
#include "kernels/clipped_loss/clipped_loss_cuda.h"
#include "kernels/policy_loss/policy_loss_rows_cuda.h"
#include "kernels/token_logprob/token_logprob_row_cuda.h"
#include "runtime/cuda/block_sum.h"

namespace prl {
namespace {

// A block per sequence. With wrong offsets some lines stay what they were, whatever that is: the sweep checks what it
// indexes by.
__global__ void __launch_bounds__(kLossThreads)
    PrepareKernel(LossBatch batch, LossParams given, const int32_t* targets, TokenLine* lines, CudaReport* report) {
  const int64_t i = blockIdx.x;
  const Piece piece = PieceOf(batch.cu_seqlens, i, batch.sequences, batch.tokens, report, Failure::kOffsets);
  const LossParams params = Counted(given, report);
  double active = 0.0;
  for (int64_t t = piece.begin + threadIdx.x; t < piece.end; t += kLossThreads)
    active += IsActive(batch, t) ? 1.0 : 0.0;
  active = SharedAs<BlockSum<kLossThreads>>()(active);
  const double weight = active == 0.0 ? 0.0 : WeightOfSequence(params, active);
  for (int64_t t = piece.begin + threadIdx.x; t < piece.end; t += kLossThreads) {
    lines[t] = {weight,
                batch.advantages[batch.advantages_per_token ? t : i],
                batch.old_logprob ? batch.old_logprob[t] : 0.0f,
                batch.ref_logprob ? batch.ref_logprob[t] : 0.0f,
                batch.importance_weight ? batch.importance_weight[t] : 1.0f,
                targets[t],
                IsActive(batch, t)};
  }
}

__device__ void Write(const LossRows& rows, int64_t t, RowResult result, float d_logprob, float d_entropy) {
  if (ClusterRank() != 0) return;
  rows.logprob[t] = result.logprob;
  rows.entropy[t] = result.entropy;
  if (rows.top1) rows.top1[t] = result.top1;
  if (rows.d_logprob) rows.d_logprob[t] = d_logprob;
  if (rows.d_entropy) rows.d_entropy[t] = d_entropy;
}

// The loss of the row's token, by one thread: what is left to do with the row.
__device__ RowSecondLook LossOfRow(const LossRows& rows, int64_t t, RowStats stats, float target_logit, float scale,
                                   float inv_temperature, CudaReport* report) {
  RowSecondLook look = {};  // kNothing
  const TokenLine& line = rows.lines[t];
  if (!CheckTarget(line.target, rows.vocab, t, report) || !CheckRow(stats, t, report)) return look;
  const RowEnd end = FinishOnDevice(stats, target_logit, scale);
  const RowResult& result = end.result;
  const LossBatch own = {1,
                         1,
                         nullptr,
                         &line.advantage,
                         true,
                         rows.has_old ? &line.old_logprob : nullptr,
                         rows.has_ref ? &line.ref_logprob : nullptr,
                         &line.importance_weight,
                         nullptr,
                         nullptr};
  const TokenInputs<double> in = InputsOfToken(own, 0, 0, result.logprob, &result.entropy);
  const double ratio = exp(in.log_ratio);
  const TokenLoss<double> token = LossOfToken(rows.params, in, ratio, SequenceTerms{});
  const float d_logprob = (float)(line.weight * (token.d_direct + token.d_ratio * ratio));
  const float d_entropy = (float)EntropyGradient(Counted(rows.params, report));
  Write(rows, t, result, d_logprob, d_entropy);
  look.kind = RowSecondLook::kZeros;
  if (d_logprob != 0.0f || d_entropy != 0.0f) look = SecondLook(stats, end, d_logprob, d_entropy, inv_temperature);
  return look;
}

// A row per cluster. What decides a way out is the same in all its blocks: none waits for one that has left.
template <typename T>
__global__ void __launch_bounds__(kRowThreads, kRowBlocks)
    SweepKernel(LossRows rows, int64_t first, const T* logits, T* d_logits, int keep, CudaReport* report) {
  const int64_t r = blockIdx.x / ClusterSize(), t = first + r;
  const T* row = logits + r * rows.stride;
  T* out = d_logits + r * rows.stride;
  const RowSlice<T> slice = SliceOf(row, rows.vocab);
  const int32_t target = rows.lines[t].target;
  if (!rows.lines[t].active) {
    if (threadIdx.x == 0) Write(rows, t, RowResult{}, 0.0f, 0.0f);
    return WriteZeros(slice, out);
  }
  const float target_logit = TargetLogit(row, target, rows.vocab);
  const float inv_temperature = 1.0f / rows.temperature, scale = inv_temperature * kLog2E;
  RowShared* shared = reinterpret_cast<RowShared*>(SharedMemory());
  Pack<T>* kept = reinterpret_cast<Pack<T>*>(SharedMemory() + kRowSharedBytes);
  const RowStats stats = Combine(LookAndKeep(slice, scale, kept, keep), shared);
  if (threadIdx.x == 0) shared->second = LossOfRow(rows, t, stats, target_logit, scale, inv_temperature, report);
  __syncthreads();
  WriteGradient(slice, out, shared->second, target, scale, kept, keep);
}

template <typename T>
Status Sweep(const LossRows& rows, int64_t first, int64_t count, const void* logits, void* d_logits,
             const CudaCall& call) {
  RowPlan plan;
  PRL_RETURN_IF_ERROR(PlanRow(SweepKernel<T>, rows.vocab, sizeof(T), &plan));
  return Launch("policyLossFromLogits", call.stream,
                {count * plan.cluster, kRowThreads, plan.shared_bytes, plan.cluster}, SweepKernel<T>, rows, first,
                static_cast<const T*>(logits), static_cast<T*>(d_logits), plan.kept, call.report);
}

// The workspace: the sequences of the loss, then the lines of the tokens, or d_logprob [tokens] and d_entropy [tokens].
float* AfterSequences(const PolicyLossArgs& args) {
  return args.workspace + LossCudaWorkspaceFloats(args.batch.tokens, args.batch.sequences);
}

ClippedLossArgs LossArgs(const PolicyLossArgs& args, float* d_logprob, float* d_entropy) {
  return {args.batch,     args.params, args.logits.logprob, args.logits.entropy,
          args.workspace, d_logprob,   d_entropy,           nullptr};
}

Status OneSweep(const PolicyLossArgs& args, const CudaCall& call) {
  const TokenLogprobArgs& l = args.logits;
  TokenLine* lines = reinterpret_cast<TokenLine*>(AfterSequences(args));
  PRL_RETURN_IF_ERROR(PrepareLossRows(args.batch, args.params, l.targets, lines, call));
  const LossRows rows{args.params,
                      args.batch.old_logprob != nullptr,
                      args.batch.ref_logprob != nullptr,
                      lines,
                      l.logprob,
                      l.entropy,
                      nullptr,
                      nullptr,
                      l.temperature,
                      l.vocab,
                      l.stride,
                      l.dtype};
  PRL_RETURN_IF_ERROR(SweepRowsCuda(rows, 0, l.rows, l.logits, args.d_logits, call));
  return ClippedLossCounted(LossArgs(args, nullptr, nullptr), call);
}

Status TwoSweeps(const PolicyLossArgs& args, const CudaCall& call) {
  TokenLogprobArgs rows = args.logits;
  rows.mask = args.batch.mask;
  PRL_RETURN_IF_ERROR(TokenLogprobCuda(rows, call));
  if (!args.d_logits) return ClippedLossCounted(LossArgs(args, nullptr, nullptr), call);
  float* d_logprob = AfterSequences(args);
  float* d_entropy = d_logprob + args.batch.tokens;
  PRL_RETURN_IF_ERROR(ClippedLossCounted(LossArgs(args, d_logprob, d_entropy), call));
  return TokenLogprobBackwardCuda({rows, d_logprob, d_entropy, args.d_logits}, call);
}

}  // namespace

Status PrepareLossRows(const LossBatch& batch, const LossParams& params, const int32_t* targets, TokenLine* lines,
                       const CudaCall& call) {
  const LaunchShape shape{batch.sequences, kLossThreads, sizeof(BlockSum<kLossThreads>)};
  return Launch("policyLossFromLogits", call.stream, shape, PrepareKernel, batch, params, targets, lines, call.report);
}

Status SweepRowsCuda(const LossRows& rows, int64_t first, int64_t count, const void* logits, void* d_logits,
                     const CudaCall& call) {
  PRL_RETURN_IF_ERROR(CheckAlignment(logits, d_logits));
  switch (rows.dtype) {
    case DType::kFloat32: return Sweep<float>(rows, first, count, logits, d_logits, call);
    case DType::kBFloat16: return Sweep<BFloat16>(rows, first, count, logits, d_logits, call);
    case DType::kFloat16: return Sweep<Float16>(rows, first, count, logits, d_logits, call);
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
}

Status PolicyLossCuda(const PolicyLossArgs& given, const CudaCall& call) {
  PRL_RETURN_IF_ERROR(CheckLoss(given.batch, given.params));
  PolicyLossArgs args = given;
  PRL_RETURN_IF_ERROR(CountTokens(args.batch, &args.params, call));
  if (NeedsSequence(args.params) || !args.d_logits) return TwoSweeps(args, call);
  return OneSweep(args, call);
}

}  // namespace prl
