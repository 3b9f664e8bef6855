// A block per sequence, and the last block to finish adds them up: one launch for the whole batch. Few long sequences:
// a block per part (kernels/sequence_parts.h), after a launch that leaves what the parts of a sequence have in common.
#include "kernels/clipped_loss/clipped_loss_cuda.h"
#include "kernels/sequence_parts_cuda.h"
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
  int found;
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

// What the active tokens of a piece add up to; for every thread of the block.
struct Totals {
  double active;
  SequenceTotals<double> of;  // where NeedsSequence
};
__device__ Totals TotalsOf(const ClippedLossArgs& args, const LossParams& params, int64_t i, Piece piece,
                           Shared& shared) {
  const bool needs_sequence = NeedsSequence(params);
  Totals mine = {};
  for (int64_t t = piece.begin + threadIdx.x; t < piece.end; t += kLossThreads) {
    if (!IsActive(args.batch, t)) continue;
    mine.active += 1.0;
    if (needs_sequence) AddToTotals(&mine.of, params, InputsOfToken(args.batch, i, t, args.logprob[t], nullptr));
  }
  mine.active = shared.sum(mine.active);
  if (needs_sequence && mine.active != 0.0)
    mine.of = {shared.sum(mine.of.log_ratio), shared.sum(mine.of.log_weight), shared.sum(mine.of.drift)};
  return mine;
}
// What each token takes from its sequence.
struct FromSequence {
  double weight;
  SequenceTerms terms;
};
__device__ FromSequence FromTotals(const LossParams& params, const Totals& totals) {
  if (totals.active == 0.0) return {};
  return {WeightOfSequence(params, totals.active),
          NeedsSequence(params) ? TermsOf(params, totals.of, totals.active) : SequenceTerms{}};
}

// This thread's share of the tokens of a piece of sequence i: writes their gradients when they are asked for. At
// sequence level they lack what flows through the ratio of the sequence.
struct TokenSums {
  LossSums sums;
  double through_ratio;  // d loss / d ratio of the sequence
  int64_t bad;           // the first token without a finite loss, or INT64_MAX
};
__device__ TokenSums LossOfTokens(const ClippedLossArgs& args, const LossParams& params, int64_t i, Piece piece,
                                  const FromSequence& from) {
  const LossBatch& batch = args.batch;
  const bool by_sequence = params.ratio_level == RatioLevel::kSequence;
  TokenSums mine = {EmptySums<double>(), 0.0, INT64_MAX};
  for (int64_t t = piece.begin + threadIdx.x; t < piece.end; t += kLossThreads) {
    float d_logprob = 0.0f, d_entropy = 0.0f;
    if (IsActive(batch, t)) {
      const TokenInputs<double> in =
          InputsOfToken(batch, i, t, args.logprob[t], args.entropy ? args.entropy + t : nullptr);
      const double ratio = by_sequence ? from.terms.ratio : exp(in.log_ratio);
      AddOldKl(&mine.sums, in.log_ratio, expm1(in.log_ratio));
      if (!by_sequence) AddRatio(&mine.sums, ratio, true);
      const TokenLoss<double> token = LossOfToken(params, in, ratio, from.terms);
      AddToken(&mine.sums, params, in, token, from.weight, true);
      mine.through_ratio += from.weight * token.d_ratio;
      d_logprob = (float)(from.weight * (token.d_direct + (by_sequence ? 0.0 : token.d_ratio * ratio)));
      d_entropy = (float)EntropyGradient(params);
      if (mine.bad == INT64_MAX && !(IsFinite(token.total) && IsFinite(d_logprob))) mine.bad = t;
    }
    if (args.d_logprob) args.d_logprob[t] = d_logprob;
    if (args.d_entropy) args.d_entropy[t] = d_entropy;
  }
  return mine;
}
// d ratio / d logprob is ratio / active for each active token of the sequence.
__device__ float ThroughRatio(const FromSequence& from, double through_ratio, double active) {
  return (float)(through_ratio * from.terms.ratio / active);
}
__device__ void AddToGradient(const ClippedLossArgs& args, Piece piece, float common) {
  for (int64_t t = piece.begin + threadIdx.x; t < piece.end; t += kLossThreads) {
    if (IsActive(args.batch, t)) args.d_logprob[t] += common;
  }
}

// One sequence by the block: its gradient when it is asked for; its sums in thread 0.
__device__ SequenceSums LossOfSequence(const ClippedLossArgs& args, const LossParams& params, int64_t i, Piece piece,
                                       Shared& shared) {
  const Totals totals = TotalsOf(args, params, i, piece, shared);
  const FromSequence from = FromTotals(params, totals);
  const TokenSums mine = LossOfTokens(args, params, i, piece, from);
  int64_t bad = FirstOfBlock(mine.bad, shared);
  if (params.ratio_level == RatioLevel::kSequence && args.d_logprob && totals.active != 0.0) {
    const float common = ThroughRatio(from, shared.sum(mine.through_ratio), totals.active);
    if (bad == INT64_MAX && !IsFinite(common)) bad = piece.begin;
    AddToGradient(args, piece, common);
  }
  LossSums sums = ReduceSums(shared.sums).Reduce(mine.sums, Add());
  if (threadIdx.x != 0 || totals.active == 0.0) return {sums, kNoFailure};
  CloseSequence(&sums, params, args.batch, from.terms, totals.active);
  return {sums, bad == INT64_MAX ? kNoFailure : WhatIsWrong(args, i, bad, piece.end)};
}

// All sequences or parts, by the last block. A failure of an earlier kernel of the call, or of the offsets, comes
// first.
template <typename Sums>
__device__ void Finish(const Sums* sequences, int64_t n, CudaReport* report, Shared& shared) {
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
  if (bad != INT64_MAX)
    atomicCAS(&report->failure, (unsigned long long)kNoFailure, (unsigned long long)sequences[bad].failure);
}
// Whether this block is the last one to come here; what the others wrote before is then known to it.
__device__ bool IsLast(CudaReport* report, Shared& shared) {
  if (threadIdx.x == 0) {
    __threadfence();
    shared.last = atomicAdd(&report->counter, 1u) == gridDim.x - 2u;  // it starts at all ones
    __threadfence();
  }
  __syncthreads();
  return shared.last;
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
  if (IsLast(report, shared)) Finish(sequences, batch.sequences, report, shared);
}

// Parts, first launch: what the tokens of a part add up to.
__global__ void __launch_bounds__(kLossThreads) PartTotalsKernel(ClippedLossArgs args, CudaReport* report) {
  Shared& shared = SharedAs<Shared>();
  const LossBatch& batch = args.batch;
  const SequencePart part = PartOf(batch.cu_seqlens, batch.sequences, batch.tokens, report, &shared.found);
  const Totals totals = TotalsOf(args, Counted(args.params, report), part.sequence, part.FromStart(), shared);
  if (threadIdx.x != 0) return;
  LossPart& own = reinterpret_cast<LossPart*>(args.workspace)[blockIdx.x];
  own.active = totals.active;
  own.log_ratio = totals.of.log_ratio;
  own.log_weight = totals.of.log_weight;
  own.drift = totals.of.drift;
}

// The totals of the sequence from those of its parts; `first`: the place of the first part with an active token.
__device__ Totals TotalsOfParts(const LossPart* parts, const SequencePart& part, Shared& shared, int64_t* first) {
  Totals mine = {};
  int64_t place = INT64_MAX;
  for (int64_t k = part.place + threadIdx.x; k < part.place + part.count; k += kLossThreads) {
    mine.active += parts[k].active;
    mine.of.log_ratio += parts[k].log_ratio;
    mine.of.log_weight += parts[k].log_weight;
    mine.of.drift += parts[k].drift;
    if (place == INT64_MAX && parts[k].active != 0.0) place = k;
  }
  *first = FirstOfBlock(place, shared);
  return {shared.sum(mine.active),
          {shared.sum(mine.of.log_ratio), shared.sum(mine.of.log_weight), shared.sum(mine.of.drift)}};
}

// Second launch: gradients and sums, which the last block adds up.
__global__ void __launch_bounds__(kLossThreads) PartLossKernel(ClippedLossArgs args, CudaReport* report) {
  Shared& shared = SharedAs<Shared>();
  LossPart* const parts = reinterpret_cast<LossPart*>(args.workspace);
  LossPart& own = parts[blockIdx.x];
  const LossBatch& batch = args.batch;
  const SequencePart part = PartOf(batch.cu_seqlens, batch.sequences, batch.tokens, report, &shared.found);
  const LossParams params = Counted(args.params, report);
  int64_t first;
  const Totals totals = TotalsOfParts(parts, part, shared, &first);
  const FromSequence from = FromTotals(params, totals);
  const TokenSums mine = LossOfTokens(args, params, part.sequence, part.FromStart(), from);
  const int64_t bad = FirstOfBlock(mine.bad, shared);
  const double through_ratio = shared.sum(mine.through_ratio);
  LossSums sums = ReduceSums(shared.sums).Reduce(mine.sums, Add());
  if (threadIdx.x == 0) {
    if (own.active != 0.0) ClosePart(&sums, params, batch, from.terms, own.active, first == blockIdx.x);
    own.sums = sums;
    own.through_ratio = through_ratio;
    own.failure = bad == INT64_MAX ? kNoFailure : WhatIsWrong(args, part.sequence, bad, part.whole.end);
  }
  if (!IsLast(report, shared)) return;
  if (threadIdx.x == 0) parts[0].after_failure = report->failure != kNoFailure;
  Finish(parts, gridDim.x, report, shared);
}

// Third launch, at sequence level: the share of the gradient that flows through the ratio of the whole sequence.
__global__ void __launch_bounds__(kLossThreads) PartRatioKernel(ClippedLossArgs args, CudaReport* report) {
  Shared& shared = SharedAs<Shared>();
  const LossPart* const parts = reinterpret_cast<const LossPart*>(args.workspace);
  const LossBatch& batch = args.batch;
  const SequencePart part = PartOf(batch.cu_seqlens, batch.sequences, batch.tokens, report, &shared.found);
  int64_t first;
  const Totals totals = TotalsOfParts(parts, part, shared, &first);
  if (totals.active == 0.0) return;
  double through_ratio = 0.0;
  for (int64_t k = part.place + threadIdx.x; k < part.place + part.count; k += kLossThreads)
    through_ratio += parts[k].through_ratio;
  const FromSequence from = FromTotals(Counted(args.params, report), totals);
  const float common = ThroughRatio(from, shared.sum(through_ratio), totals.active);
  AddToGradient(args, part.FromStart(), common);
  // Of the sequences the first counts, as in Finish; what came before the sums comes first.
  if (threadIdx.x == 0 && part.number == 0 && !IsFinite(common) && !parts[0].after_failure)
    atomicMin(&report->failure, WhatIsWrong(args, part.sequence, part.whole.begin, part.whole.end));
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
  if (const int64_t parts = SequenceParts(args.batch.tokens, args.batch.sequences)) {
    const LaunchShape shape{parts, kLossThreads, sizeof(Shared)};
    PRL_RETURN_IF_ERROR(Launch("policyLoss", call.stream, shape, PartTotalsKernel, args, call.report));
    PRL_RETURN_IF_ERROR(Launch("policyLoss", call.stream, shape, PartLossKernel, args, call.report));
    if (args.params.ratio_level != RatioLevel::kSequence || !args.d_logprob) return Ok();
    return Launch("policyLoss", call.stream, shape, PartRatioKernel, args, call.report);
  }
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
