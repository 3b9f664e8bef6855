#include "kernels/clipped_loss/clipped_loss.h"
#include "kernels/clipped_loss/clipped_loss_math.h"
#include "kernels/clipped_loss/clipped_loss_state.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

// kDoubles tokens of a sequence from t on, or the n that it still has; some may be masked.
struct Group {
  int64_t t;
  int n;
  VL active;
};

// kAll: whole and nothing masked.
template <bool kAll>
PRL_INLINE Group GroupAt(const LossBatch& batch, int64_t t, int64_t end) {
  if (kAll) return {t, kDoubles, ~VL{}};
  const int n = end - t < kDoubles ? (int)(end - t) : kDoubles;
  if (!batch.mask) return {t, n, LanesFrom(0) < n};
  return {t, n, n == kDoubles ? LoadWide(batch.mask + t) != 0 : LoadWidePartial(batch.mask + t, n) != 0};
}

PRL_INLINE VD Read(const float* values, const Group& g, VD otherwise) {
  if (!values) return otherwise;
  return g.active ? (g.n == kDoubles ? LoadWide(values + g.t) : LoadWidePartial(values + g.t, g.n)) : otherwise;
}
// As InputsOfToken of sequence i; of what is masked the log-probabilities are equal, the advantage and the entropy 0.
PRL_INLINE TokenInputs<VD> InputsOf(const ClippedLossArgs& args, int64_t i, const Group& g) {
  const LossBatch& batch = args.batch;
  TokenInputs<VD> in;
  in.logprob = Read(args.logprob, g, VD{});
  in.log_ratio = batch.old_logprob ? in.logprob - Read(batch.old_logprob, g, VD{}) : VD{};
  in.has_ref = batch.ref_logprob != nullptr;
  in.ref_ratio = in.has_ref ? Read(batch.ref_logprob, g, VD{}) - in.logprob : VD{};
  in.drift = batch.sampling_logprob ? Read(batch.sampling_logprob, g, VD{}) - in.logprob : -in.log_ratio;
  in.advantage = batch.advantages_per_token ? Read(batch.advantages, g, VD{})
                 : g.active                 ? SplatDouble((double)batch.advantages[i])
                                            : VD{};
  in.has_importance = batch.importance_weight != nullptr;
  in.importance = in.has_importance ? Read(batch.importance_weight, g, SplatDouble(1.0)) : SplatDouble(1.0);
  in.has_entropy = args.entropy != nullptr;
  in.entropy = in.has_entropy ? Read(args.entropy, g, VD{}) : VD{};
  return in;
}

SequenceTerms TermsOfSequence(const ClippedLossArgs& args, int64_t i, double active) {
  const int64_t begin = args.batch.cu_seqlens[i], end = args.batch.cu_seqlens[i + 1];
  SequenceTotals<VD> totals = {};
  for (int64_t t = begin; t < end; t += kDoubles)
    AddToTotals(&totals, args.params, InputsOf(args, i, GroupAt<false>(args.batch, t, end)));
  return TermsOf(args.params, {ReduceAdd(totals.log_ratio), ReduceAdd(totals.log_weight), ReduceAdd(totals.drift)},
                 active);
}

// The first of tokens [t, end) without a finite loss; one of them has none.
int64_t FirstBad(const ClippedLossArgs& args, int64_t i, const SequenceState& s, const SequenceTerms& terms, int64_t t,
                 int64_t end) {
  const bool by_sequence = args.params.ratio_level == RatioLevel::kSequence;
  for (; t + 1 < end; ++t) {
    if (!IsActive(args.batch, t)) continue;
    const TokenInputs<double> in =
        InputsOfToken(args.batch, i, t, args.logprob[t], args.entropy ? args.entropy + t : nullptr);
    const double ratio = by_sequence ? terms.ratio : exp(in.log_ratio);
    const TokenLoss<double> token = LossOfToken(args.params, in, ratio, terms);
    const float d_logprob = (float)(s.weight * (by_sequence ? token.d_direct : token.d_direct + token.d_ratio * ratio));
    if (!(IsFinite(token.total) && IsFinite(d_logprob))) break;
  }
  return t;
}

LossSums AddLanes(const LossSumsOf<VD>& lanes) {
  double values[sizeof(LossSums) / sizeof(double)][kDoubles];
  static_assert(sizeof values == sizeof lanes, "a vector for each sum");
  memcpy(values, &lanes, sizeof values);
  LossSums sums = EmptySums<double>();
  for (int k = 0; k < kDoubles; ++k) {
    double lane[sizeof(LossSums) / sizeof(double)];
    for (size_t j = 0; j < sizeof(LossSums) / sizeof(double); ++j) lane[j] = values[j][k];
    LossSums one;
    memcpy(&one, lane, sizeof one);
    AddSums(&sums, one);
  }
  return sums;
}

// A sequence on its way: what its tokens take from it and leave in it.
struct Progress {
  int64_t i;
  double weight;
  SequenceTerms terms;
  LossSumsOf<VD> sums;
  VD through_ratio;  // d loss / d ratio of the sequence
};

// Tokens [begin, end), at most kChunk groups, all of them whole and active where kAll. Returns whether all was finite.
constexpr int kChunk = 16;
template <bool kAll>
PRL_INLINE bool LossOfChunk(const ClippedLossArgs& args, int64_t begin, int64_t end, Progress* s) {
  const LossBatch& batch = args.batch;
  const LossParams& p = args.params;
  const bool by_sequence = p.ratio_level == RatioLevel::kSequence;
  LossSumsOf<VD> sums = s->sums;
  // The ratios first: processors look too few instructions ahead to find the next exponential behind a loss.
  VD log_ratio[kChunk], ratios[kChunk];
  int k = 0;
  for (int64_t t = begin; t < end; t += kDoubles, ++k) {
    const Group g = GroupAt<kAll>(batch, t, end);
    log_ratio[k] = batch.old_logprob ? Read(args.logprob, g, VD{}) - Read(batch.old_logprob, g, VD{}) : VD{};
    const VExponentials e = batch.old_logprob ? ExpAndExpm1(log_ratio[k]) : VExponentials{SplatDouble(1.0), VD{}};
    AddOldKl(&sums, log_ratio[k], e.expm1);
    if (!by_sequence) AddRatio(&sums, e.exp, g.active);
    ratios[k] = by_sequence ? SplatDouble(s->terms.ratio) : e.exp;
  }
  VD total = {};
  VHF d_total = {};
  k = 0;
  for (int64_t t = begin; t < end; t += kDoubles, ++k) {
    const Group g = GroupAt<kAll>(batch, t, end);
    TokenInputs<VD> in = InputsOf(args, s->i, g);
    in.log_ratio = log_ratio[k];
    const TokenLoss<VD> token = LossOfToken(p, in, ratios[k], s->terms);
    AddToken(&sums, p, in, token, s->weight, g.active);
    VD d = token.d_direct;
    if (by_sequence) s->through_ratio += s->weight * token.d_ratio;
    else d += token.d_ratio * ratios[k];
    const VHF d_logprob = ToFloats(g.active ? s->weight * d : VD{});
    total += g.active ? token.total * 0.0 : VD{};  // NaN, and so it stays, where it is not finite
    d_total += d_logprob * 0.0f;
    if (args.d_logprob) StoreFloats(args.d_logprob + t, g.n, d_logprob);
    if (args.d_entropy)
      StoreFloats(args.d_entropy + t, g.n, ToFloats(g.active ? SplatDouble(EntropyGradient(p)) : VD{}));
  }
  s->sums = sums;
  return ReduceAdd(total) == 0.0 && ReduceAdd(__builtin_convertvector(d_total, VD)) == 0.0;
}

// One sequence: its sums, and the gradient when it is asked for.
void LossOfSequence(const ClippedLossArgs& args, int64_t i, SequenceState* s) {
  const LossBatch& batch = args.batch;
  const LossParams& p = args.params;
  const int64_t begin = batch.cu_seqlens[i], end = batch.cu_seqlens[i + 1];
  const bool by_sequence = p.ratio_level == RatioLevel::kSequence;
  s->sums = EmptySums<double>();
  if (s->active == 0.0) {
    if (args.d_logprob) memset(args.d_logprob + begin, 0, (size_t)(end - begin) * sizeof(float));
    if (args.d_entropy) memset(args.d_entropy + begin, 0, (size_t)(end - begin) * sizeof(float));
    return;
  }
  const SequenceTerms terms = NeedsSequence(p) ? TermsOfSequence(args, i, s->active) : SequenceTerms{};

  Progress now = {i, s->weight, terms, EmptySums<VD>(), VD{}};
  for (int64_t t = begin; t < end;) {
    const int64_t left = end - t, whole = batch.mask ? 0 : left / kDoubles * kDoubles, most = kChunk * kDoubles;
    const int64_t n = whole ? (whole < most ? whole : most) : left < most ? left : most;
    const bool finite = whole ? LossOfChunk<true>(args, t, t + n, &now) : LossOfChunk<false>(args, t, t + n, &now);
    if (!finite && s->bad_token < 0) s->bad_token = FirstBad(args, i, *s, terms, t, t + n);
    t += n;
  }
  s->sums = AddLanes(now.sums);
  CloseSequence(&s->sums, p, batch, terms, s->active);
  if (!by_sequence || !args.d_logprob) return;
  // d ratio / d logprob is ratio / active for each active token of the sequence.
  const float shared = (float)(ReduceAdd(now.through_ratio) * terms.ratio / s->active);
  if (s->bad_token < 0 && !IsFinite(shared)) s->bad_token = begin;
  for (int64_t t = begin; t < end; ++t) {
    if (IsActive(batch, t)) args.d_logprob[t] += shared;
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
  LossSums sums = EmptySums<double>();
  for (int64_t i = 0; i < batch.sequences; ++i) {
    if (state[i].bad_token >= 0) return BadLossToken(args, state[i].bad_token);
    AddSums(&sums, state[i].sums);
  }
  *args.sums = sums;
  return Ok();
}

}  // namespace PRL_ISA
}  // namespace prl
