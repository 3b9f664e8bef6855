#include "kernels/policy_loss/policy_loss.h"
#include "kernels/policy_loss/policy_loss_rows.h"

namespace prl {
namespace PRL_ISA {
namespace {

// The workspace: states of the sequences, then d_logprob [tokens], then d_entropy [tokens].
float* DLogprob(const PolicyLossArgs& args) { return args.workspace + LossWorkspaceFloats(args.batch.sequences); }
float* DEntropy(const PolicyLossArgs& args) { return DLogprob(args) + args.batch.tokens; }

ClippedLossArgs LossArgs(const PolicyLossArgs& args, float* d_logprob, float* d_entropy) {
  return {args.batch,     args.params, args.logits.logprob, args.logits.entropy,
          args.workspace, d_logprob,   d_entropy,           args.sums};
}

template <typename T>
Status OneSweep(const PolicyLossArgs& args) {
  const TokenLogprobArgs& l = args.logits;
  int64_t first_bad = INT64_MAX;
  const SequenceState* state = PrepareSequences(args.batch, args.params, args.workspace);
  const LossSweep sweep{args.batch,     args.params,    state,         l.targets, l.logprob, l.entropy,
                        DLogprob(args), DEntropy(args), l.temperature, l.vocab,   l.stride};
  SweepRows(sweep, 0, l.rows, static_cast<const T*>(l.logits), static_cast<T*>(args.d_logits), &first_bad);
  PRL_RETURN_IF_ERROR(ReportBadRow(first_bad));
  return ClippedLossCpu(LossArgs(args, nullptr, nullptr));
}

// Also without a gradient: then the first and the second are all.
Status TwoSweeps(const PolicyLossArgs& args, const TokenLogprobArgs& rows) {
  PRL_RETURN_IF_ERROR(TokenLogprobCpu(rows));
  PRL_RETURN_IF_ERROR(ClippedLossCpu(LossArgs(args, DLogprob(args), DEntropy(args))));
  return args.d_logits ? TokenLogprobBackwardCpu({rows, DLogprob(args), DEntropy(args), args.d_logits}) : Ok();
}

}  // namespace

Status PolicyLossCpu(const PolicyLossArgs& given) {
  PRL_RETURN_IF_ERROR(CheckLoss(given.batch, given.params));
  PolicyLossArgs args = given;
  args.params = Counted(given.batch, given.params);
  TokenLogprobArgs rows = args.logits;
  rows.mask = args.batch.mask;
  if (NeedsSequence(args.params) || !args.d_logits) return TwoSweeps(args, rows);
  PRL_RETURN_IF_ERROR(CheckTargets(rows.targets, rows.mask, rows.rows, rows.vocab));
  switch (rows.dtype) {
    case DType::kFloat32: return OneSweep<float>(args);
    case DType::kBFloat16: return OneSweep<BFloat16>(args);
    case DType::kFloat16: return OneSweep<Float16>(args);
    default: return Error(Code::kInvalidArgument, "logits must be float32, bfloat16 or float16, not int32");
  }
}

}  // namespace PRL_ISA
}  // namespace prl
