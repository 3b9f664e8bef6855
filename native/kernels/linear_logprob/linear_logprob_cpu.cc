#include "kernels/linear_logprob/linear_logprob.h"

#include "kernels/policy_loss/policy_loss_rows.h"
#include "kernels/token_logprob/token_logprob.h"
#include "runtime/cpu/gemm.h"

namespace prl {
namespace PRL_ISA {
namespace {

// How the workspace is cut: what the loss needs, then a chunk's logits and two [rows, width] pieces.
struct Chunks {
  float *d_logprob, *d_entropy, *logits, *hidden, *d_hidden;
  int64_t rows;
};

Chunks MakeChunks(const LinearLogprobArgs& a, int64_t sequences) {
  // Chunks of nearly as many tokens each.
  const int64_t count = (a.tokens + a.chunk - 1) / a.chunk, rows = (a.tokens + count - 1) / count;
  float* d_logprob = a.workspace + LossWorkspaceFloats(sequences);
  float* logits = d_logprob + 2 * a.tokens;
  float* hidden = logits + rows * a.vocab;
  return {d_logprob, d_logprob + a.tokens, logits, hidden, hidden + rows * a.width, rows};
}

const float* Hidden(const LinearLogprobArgs& a, int64_t t) { return static_cast<const float*>(a.hidden) + t * a.width; }

// C = A B with the head, element (p, j) of B at p * b_row + j * b_col of it.
void TimesHead(const LinearLogprobArgs& a, int64_t m, int64_t n, int64_t k, const float* left, int64_t b_row,
               int64_t b_col, float* c) {
  GemmCpu({m, n, k, left, k, 1, a.bf16_head ? nullptr : static_cast<const float*>(a.head), b_row, b_col, c, n, false,
           nullptr, a.bf16_head ? static_cast<const BFloat16*>(a.head) : nullptr});
}

// logits = hidden . head^T of `rows` tokens from `first` on.
void MakeLogits(const LinearLogprobArgs& a, int64_t first, int64_t rows, float* logits) {
  TimesHead(a, rows, a.vocab, a.width, Hidden(a, first), 1, a.width, logits);
}

// The gradient of `rows` tokens from `first` on, from that of their logits, which is lost. Rows without a gradient are
// left out (0 times whatever their hidden state holds is 0): the others move together.
void PushGradient(const LinearPolicyLossArgs& args, const Chunks& chunks, int64_t first, int64_t rows) {
  const LinearLogprobArgs& a = args.linear;
  const auto has_gradient = [&](int64_t r) {
    return chunks.d_logprob[first + r] != 0.0f || chunks.d_entropy[first + r] != 0.0f;
  };
  const size_t row_bytes = (size_t)a.width * sizeof(float);
  int64_t kept = 0;
  while (kept < rows && has_gradient(kept)) ++kept;
  const bool all = kept == rows;
  if (!all) memcpy(chunks.hidden, Hidden(a, first), (size_t)kept * row_bytes);
  for (int64_t r = kept; r < rows; ++r) {
    if (!has_gradient(r)) continue;
    memcpy(chunks.logits + kept * a.vocab, chunks.logits + r * a.vocab, (size_t)a.vocab * sizeof(float));
    memcpy(chunks.hidden + kept * a.width, Hidden(a, first + r), row_bytes);
    ++kept;
  }
  const float* d_logits = chunks.logits;
  const float* hidden = all ? Hidden(a, first) : chunks.hidden;
  float* const out = static_cast<float*>(args.d_hidden) + first * a.width;
  float* d_hidden = all ? out : chunks.d_hidden;
  TimesHead(a, kept, a.width, a.vocab, d_logits, a.width, 1, d_hidden);
  GemmCpu({a.vocab, a.width, kept, d_logits, 1, a.vocab, hidden, a.width, 1, args.d_head, a.width,
           args.add_to_head || first > 0, nullptr});
  if (all) return;
  for (int64_t r = 0; r < rows; ++r) {
    if (has_gradient(r)) {
      memcpy(out + r * a.width, d_hidden, row_bytes);
      d_hidden += a.width;
    } else {
      memset(out + r * a.width, 0, row_bytes);
    }
  }
}

TokenLogprobArgs RowsOf(const LinearLogprobArgs& a, const int32_t* mask, int64_t first, int64_t rows,
                        const float* logits) {
  return {rows,
          a.vocab,
          a.vocab,
          DType::kFloat32,
          logits,
          a.targets + first,
          a.temperature,
          a.logprob + first,
          a.entropy ? a.entropy + first : nullptr,
          nullptr,
          mask ? mask + first : nullptr,
          first,
          a.top1 ? a.top1 + first : nullptr};
}

Status Logprobs(const LinearLogprobArgs& a, const int32_t* mask, const Chunks& chunks) {
  for (int64_t first = 0; first < a.tokens; first += chunks.rows) {
    const int64_t rows = first + chunks.rows < a.tokens ? chunks.rows : a.tokens - first;
    MakeLogits(a, first, rows, chunks.logits);
    PRL_RETURN_IF_ERROR(TokenLogprobCpu(RowsOf(a, mask, first, rows, chunks.logits)));
  }
  return Ok();
}

ClippedLossArgs LossArgs(const LinearPolicyLossArgs& args, float* d_logprob, float* d_entropy) {
  const LinearLogprobArgs& a = args.linear;
  return {args.batch, args.params, a.logprob, a.entropy, a.workspace, d_logprob, d_entropy, args.sums};
}

Status OneSweep(const LinearPolicyLossArgs& args, const Chunks& chunks) {
  const LinearLogprobArgs& a = args.linear;
  const SequenceState* state = PrepareSequences(args.batch, args.params, a.workspace);
  const LossSweep sweep{args.batch,       args.params,      state,         a.targets, a.logprob, a.entropy,
                        chunks.d_logprob, chunks.d_entropy, a.temperature, a.vocab,   a.vocab,   a.top1};
  for (int64_t first = 0; first < a.tokens; first += chunks.rows) {
    const int64_t rows = first + chunks.rows < a.tokens ? chunks.rows : a.tokens - first;
    int64_t first_bad = INT64_MAX;
    MakeLogits(a, first, rows, chunks.logits);
    SweepRows(sweep, first, rows, chunks.logits, chunks.logits, &first_bad);
    PRL_RETURN_IF_ERROR(ReportBadRow(first_bad));
    PushGradient(args, chunks, first, rows);
  }
  return ClippedLossCpu(LossArgs(args, nullptr, nullptr));
}

Status TwoSweeps(const LinearPolicyLossArgs& args, const Chunks& chunks) {
  const LinearLogprobArgs& a = args.linear;
  PRL_RETURN_IF_ERROR(Logprobs(a, args.batch.mask, chunks));
  PRL_RETURN_IF_ERROR(ClippedLossCpu(LossArgs(args, chunks.d_logprob, chunks.d_entropy)));
  for (int64_t first = 0; first < a.tokens; first += chunks.rows) {
    const int64_t rows = first + chunks.rows < a.tokens ? chunks.rows : a.tokens - first;
    if (chunks.rows < a.tokens) MakeLogits(a, first, rows, chunks.logits);  // else they are still there
    PRL_RETURN_IF_ERROR(TokenLogprobBackwardCpu({RowsOf(a, args.batch.mask, first, rows, chunks.logits),
                                                 chunks.d_logprob + first, chunks.d_entropy + first, chunks.logits}));
    PushGradient(args, chunks, first, rows);
  }
  return Ok();
}

}  // namespace

Status LinearLogprobCpu(const LinearLogprobArgs& a) {
  PRL_RETURN_IF_ERROR(CheckTargets(a.targets, a.mask, a.tokens, a.vocab));
  return a.tokens ? Logprobs(a, a.mask, MakeChunks(a, 0)) : Ok();
}

Status LinearPolicyLossCpu(const LinearPolicyLossArgs& given) {
  PRL_RETURN_IF_ERROR(CheckLoss(given.batch, given.params));
  LinearPolicyLossArgs args = given;
  args.params = Counted(given.batch, given.params);
  const LinearLogprobArgs& a = args.linear;
  PRL_RETURN_IF_ERROR(CheckTargets(a.targets, args.batch.mask, a.tokens, a.vocab));
  if (a.tokens == 0) {
    if (!args.add_to_head) memset(args.d_head, 0, (size_t)(a.vocab * a.width) * sizeof(float));
    return ClippedLossCpu(LossArgs(args, nullptr, nullptr));
  }
  const Chunks chunks = MakeChunks(a, args.batch.sequences);
  return NeedsSequence(args.params) ? TwoSweeps(args, chunks) : OneSweep(args, chunks);
}

}  // namespace PRL_ISA
}  // namespace prl
