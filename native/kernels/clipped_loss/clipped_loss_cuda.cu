// A block per sequence, and the last block to finish adds them up: one launch for the whole batch.
#include "kernels/clipped_loss/clipped_loss_cuda.h"
#include "runtime/cuda/block_sum.h"

namespace prl {
namespace {

// What a block leaves in the workspace.
struct SequenceSums {
  LossSums sums;
  unsigned long long failure;  // kernels/failures.h
};
static_assert(sizeof(SequenceSums) <= sizeof(SequenceState), "the workspace is that of the CPU");
static_assert(sizeof(LossSums) <= sizeof(CudaReport::values), "the sums go to the host in the report");

struct Add {
  __device__ LossSums operator()(LossSums a, const LossSums& b) const {
    AddSums(&a, b);
    return a;
  }
};

using ReduceSums = cub::BlockReduce<LossSums, kLossThreads>;
struct Shared {
  ReduceSums::TempStorage sums;
  BlockSum<kLossThreads> sum;
  unsigned long long first;
  bool last;
};

// The smallest of the block, known to every thread.
__device__ int64_t FirstOfBlock(int64_t mine, Shared& shared) {
  __syncthreads();  // `first` may still be in use
  if (threadIdx.x == 0) shared.first = INT64_MAX;
  __syncthreads();
  if (mine != INT64_MAX) atomicMin(&shared.first, (unsigned long long)mine);
  __syncthreads();
  return (int64_t)shared.first;
}

// As BadLossToken says it on the CPU.
__device__ unsigned long long WhatIsWrong(const ClippedLossArgs& args, int64_t sequence, int64_t token, int64_t end) {
  const LossBatch& batch = args.batch;
  if (!NeedsSequence(args.params)) end = token + 1;
  for (int64_t t = token; t < end; ++t) {
    if (!IsActive(batch, t)) continue;
    const int64_t advantage = batch.advantages_per_token ? t : sequence;
    const auto bad = [](const float* values, int64_t i) { return values && !IsFinite(values[i]); };
    const auto found = [](Failure kind, const float* values, int64_t i) {
      return PackFailure(kind, i, __float_as_uint(values[i]));
    };
    if (bad(args.logprob, t)) return found(Failure::kLogProb, args.logprob, t);
    if (bad(batch.advantages, advantage)) return found(Failure::kAdvantage, batch.advantages, advantage);
    if (bad(batch.old_logprob, t)) return found(Failure::kOldLogProb, batch.old_logprob, t);
    if (bad(batch.ref_logprob, t)) return found(Failure::kRefLogProb, batch.ref_logprob, t);
    if (bad(batch.importance_weight, t)) return found(Failure::kImportanceWeight, batch.importance_weight, t);
    if (bad(batch.sampling_logprob, t)) return found(Failure::kRolloutLogProb, batch.sampling_logprob, t);
    if (bad(args.entropy, t)) return found(Failure::kEntropy, args.entropy, t);
    if (batch.importance_weight && batch.importance_weight[t] < 0.0f)
      return found(Failure::kWeightNegative, batch.importance_weight, t);
  }
  return PackFailure(Failure::kLossOverflow, token,
                     __float_as_uint((float)LogRatio(batch, token, args.logprob[token])));
}

// One sequence by the block: its gradient when it is asked for; its sums in thread 0.
__device__ SequenceSums LossOfSequence(const ClippedLossArgs& args, const LossParams& params, int64_t i, Piece piece,
                                       Shared& shared) {
  const LossBatch& batch = args.batch;
  const bool by_sequence = params.ratio_level == RatioLevel::kSequence;
  const int64_t first = piece.begin + threadIdx.x;
  const bool needs_sequence = NeedsSequence(params);
  double active = 0.0;
  SequenceTotals<double> totals = {};
  for (int64_t t = first; t < piece.end; t += kLossThreads) {
    if (!IsActive(batch, t)) continue;
    active += 1.0;
    if (needs_sequence) AddToTotals(&totals, params, InputsOfToken(batch, i, t, args.logprob[t], nullptr));
  }
  active = shared.sum(active);
  const double weight = active == 0.0 ? 0.0 : WeightOfSequence(params, active);
  SequenceTerms terms = {};
  if (needs_sequence && active != 0.0) {
    totals = {shared.sum(totals.log_ratio), shared.sum(totals.log_weight), shared.sum(totals.drift)};
    terms = TermsOf(params, totals, active);
  }

  LossSums sums = EmptySums<double>();
  double through_ratio = 0.0;  // d loss / d ratio of the sequence
  int64_t bad = INT64_MAX;
  for (int64_t t = first; t < piece.end; t += kLossThreads) {
    float d_logprob = 0.0f, d_entropy = 0.0f;
    if (IsActive(batch, t)) {
      const TokenInputs<double> in =
          InputsOfToken(batch, i, t, args.logprob[t], args.entropy ? args.entropy + t : nullptr);
      const double ratio = by_sequence ? terms.ratio : exp(in.log_ratio);
      AddOldKl(&sums, in.log_ratio, expm1(in.log_ratio));
      if (!by_sequence) AddRatio(&sums, ratio, true);
      const TokenLoss<double> token = LossOfToken(params, in, ratio, terms);
      AddToken(&sums, params, in, token, weight, true);
      through_ratio += weight * token.d_ratio;
      d_logprob = (float)(weight * (token.d_direct + (by_sequence ? 0.0 : token.d_ratio * ratio)));
      d_entropy = (float)EntropyGradient(params);
      if (bad == INT64_MAX && !(IsFinite(token.total) && IsFinite(d_logprob))) bad = t;
    }
    if (args.d_logprob) args.d_logprob[t] = d_logprob;
    if (args.d_entropy) args.d_entropy[t] = d_entropy;
  }
  bad = FirstOfBlock(bad, shared);
  if (by_sequence && args.d_logprob && active != 0.0) {
    // d ratio / d logprob is ratio / active for each active token of the sequence.
    const float common = (float)(shared.sum(through_ratio) * terms.ratio / active);
    if (bad == INT64_MAX && !IsFinite(common)) bad = piece.begin;
    for (int64_t t = first; t < piece.end; t += kLossThreads) {
      if (IsActive(batch, t)) args.d_logprob[t] += common;
    }
  }
  sums = ReduceSums(shared.sums).Reduce(sums, Add());
  if (threadIdx.x != 0 || active == 0.0) return {sums, kNoFailure};
  CloseSequence(&sums, params, batch, terms, active);
  return {sums, bad == INT64_MAX ? kNoFailure : WhatIsWrong(args, i, bad, piece.end)};
}

// All sequences, by the last block. A failure of an earlier kernel of the call, or of the offsets, comes first.
__device__ void Finish(const SequenceSums* sequences, int64_t n, CudaReport* report, Shared& shared) {
  LossSums sums = EmptySums<double>();
  int64_t bad = INT64_MAX;
  for (int64_t i = threadIdx.x; i < n; i += kLossThreads) {
    AddSums(&sums, sequences[i].sums);
    if (bad == INT64_MAX && sequences[i].failure != kNoFailure) bad = i;
  }
  bad = FirstOfBlock(bad, shared);
  sums = ReduceSums(shared.sums).Reduce(sums, Add());
  if (threadIdx.x != 0) return;
  *reinterpret_cast<LossSums*>(report->values) = sums;
  if (bad != INT64_MAX) atomicCAS(&report->failure, (unsigned long long)kNoFailure, sequences[bad].failure);
}

__global__ void __launch_bounds__(kLossThreads) LossKernel(ClippedLossArgs args, CudaReport* report) {
  Shared& shared = SharedAs<Shared>();
  SequenceSums* sequences = reinterpret_cast<SequenceSums*>(args.workspace);
  const LossBatch& batch = args.batch;
  const int64_t i = blockIdx.x;
  if (i < batch.sequences) {
    const Piece piece = PieceOf(batch.cu_seqlens, i, batch.sequences, batch.tokens, report, Failure::kOffsets);
    const SequenceSums mine = LossOfSequence(args, Counted(args.params, report), i, piece, shared);
    if (threadIdx.x == 0) sequences[i] = mine;
  }
  if (threadIdx.x == 0) {
    __threadfence();
    shared.last = atomicAdd(&report->counter, 1u) == gridDim.x - 2u;  // it starts at all ones
    __threadfence();
  }
  __syncthreads();
  if (shared.last) Finish(sequences, batch.sequences, report, shared);
}

__global__ void __launch_bounds__(kLossThreads) CountKernel(const int32_t* mask, int64_t tokens, CudaReport* report) {
  double mine = 0.0;
  const int64_t step = (int64_t)gridDim.x * kLossThreads;
  for (int64_t t = (int64_t)blockIdx.x * kLossThreads + threadIdx.x; t < tokens; t += step)
    mine += mask[t] != 0 ? 1.0 : 0.0;
  const double sum = SharedAs<BlockSum<kLossThreads>>()(mine);
  if (threadIdx.x == 0) atomicAdd(&report->count, (unsigned)sum);
}

}  // namespace

Status CountTokens(const LossBatch& batch, LossParams* params, const CudaCall& call) {
  if (params->norm_tokens > 0.0) return Ok();
  if (!batch.mask || batch.tokens == 0) {
    params->norm_tokens = batch.tokens > 0 ? (double)batch.tokens : 1.0;
    return Ok();
  }
  const int64_t blocks = (batch.tokens + 8 * kLossThreads - 1) / (8 * kLossThreads);
  const LaunchShape shape{blocks < 256 ? blocks : 256, kLossThreads, sizeof(BlockSum<kLossThreads>)};
  return Launch("policyLoss", call.stream, shape, CountKernel, batch.mask, batch.tokens, call.report);
}

Status ClippedLossCounted(const ClippedLossArgs& args, const CudaCall& call) {
  const int64_t blocks = args.batch.sequences > 0 ? args.batch.sequences : 1;
  return Launch("policyLoss", call.stream, {blocks, kLossThreads, sizeof(Shared)}, LossKernel, args, call.report);
}

Status ClippedLossCuda(const ClippedLossArgs& args, const CudaCall& call) {
  PRL_RETURN_IF_ERROR(CheckClippedLoss(args));
  ClippedLossArgs counted = args;
  PRL_RETURN_IF_ERROR(CountTokens(args.batch, &counted.params, call));
  return ClippedLossCounted(counted, call);
}

}  // namespace prl
