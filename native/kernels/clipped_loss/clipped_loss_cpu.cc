#include "kernels/clipped_loss/clipped_loss.h"
#include "kernels/clipped_loss/clipped_loss_math.h"
#include "kernels/clipped_loss/clipped_loss_state.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

SequenceTerms TermsOfSequence(const ClippedLossArgs& args, int64_t begin, int64_t end, double active) {
  SequenceTotals totals = {};
  for (int64_t t = begin; t < end; ++t) {
    if (IsActive(args.batch, t)) AddToTotals(&totals, args.params, args.batch, t, args.logprob[t]);
  }
  return TermsOf(args.params, totals, active);
}

void AddToken(LossSums* sums, const ClippedLossArgs& args, int64_t t, const TokenLoss& token, double weight) {
  const double log_ratio = LogRatio(args.batch, t, args.logprob[t]);
  const double entropy = args.entropy ? (double)args.entropy[t] : 0.0;
  sums->loss += weight * token.term + EntropyGradient(args.params) * entropy;
  sums->tokens += 1.0;
  sums->entropy += entropy;
  sums->kl += token.kl;
  sums->old_kl_k1 -= log_ratio;
  sums->old_kl_k3 += expm1(log_ratio) - log_ratio;
}

// One sequence: its sums, and the gradient when it is asked for.
void LossOfSequence(const ClippedLossArgs& args, int64_t i, SequenceState* s) {
  const LossBatch& batch = args.batch;
  const int64_t begin = batch.cu_seqlens[i], end = batch.cu_seqlens[i + 1];
  const bool by_sequence = args.params.ratio_level == RatioLevel::kSequence;
  s->sums = EmptySums();
  if (s->active == 0.0) {
    if (args.d_logprob) memset(args.d_logprob + begin, 0, (size_t)(end - begin) * sizeof(float));
    if (args.d_entropy) memset(args.d_entropy + begin, 0, (size_t)(end - begin) * sizeof(float));
    return;
  }
  s->sums.sequences = 1.0;
  const SequenceTerms terms = NeedsSequence(args.params) ? TermsOfSequence(args, begin, end, s->active) : SequenceTerms{};
  if (by_sequence) AddRatio(&s->sums, terms.ratio);
  const bool count_sequences = CountsSequences(args.params, batch);

  double through_ratio = 0.0;  // d loss / d ratio of the sequence
  for (int64_t t = begin; t < end; ++t) {
    float d_logprob = 0.0f, d_entropy = 0.0f;
    if (IsActive(batch, t)) {
      const double ratio = by_sequence ? terms.ratio : exp(LogRatio(batch, t, args.logprob[t]));
      if (!by_sequence) AddRatio(&s->sums, ratio);
      const TokenLoss token = LossOfToken(args.params, batch, i, t, args.logprob[t], args.entropy ? args.entropy[t] : 0.0f, ratio, terms);
      AddToken(&s->sums, args, t, token, s->weight);
      if (!count_sequences || s->sums.clip_count == 0.0) AddClip(&s->sums, token);
      through_ratio += s->weight * token.d_ratio;
      d_logprob = (float)(s->weight * (token.d_direct + (by_sequence ? 0.0 : token.d_ratio * ratio)));
      d_entropy = (float)EntropyGradient(args.params);
      if (s->bad_token < 0 && !(token.finite && IsFinite(d_logprob))) s->bad_token = t;
    }
    if (args.d_logprob) args.d_logprob[t] = d_logprob;
    if (args.d_entropy) args.d_entropy[t] = d_entropy;
  }
  if (!by_sequence || !args.d_logprob) return;
  // d ratio / d logprob is ratio / active for each active token of the sequence.
  const double shared = through_ratio * terms.ratio / s->active;
  if (s->bad_token < 0 && !IsFinite((float)shared)) s->bad_token = begin;
  for (int64_t t = begin; t < end; ++t) {
    if (IsActive(batch, t)) args.d_logprob[t] += (float)shared;
  }
}

}  // namespace

Status ClippedLossCpu(const ClippedLossArgs& given) {
  PRL_RETURN_IF_ERROR(CheckClippedLoss(given));
  ClippedLossArgs args = given;
  args.params = Counted(given.batch, given.params);
  const LossBatch& batch = args.batch;
  SequenceState* state = PrepareSequences(batch, args.params, args.workspace);
  // About 4096 tokens a task; what a task holds does not change a number.
  const int64_t grain = 1 + 4096 * batch.sequences / (batch.tokens + 1);
  ParallelRows(batch.sequences, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) LossOfSequence(args, i, &state[i]);
  });
  LossSums sums = EmptySums();
  for (int64_t i = 0; i < batch.sequences; ++i) {
    if (state[i].bad_token >= 0) return BadLossToken(args, state[i].bad_token);
    AddSums(&sums, state[i].sums);
  }
  *args.sums = sums;
  return Ok();
}

}  // namespace PRL_ISA
}  // namespace prl
