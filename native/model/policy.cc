#include "model/policy.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/linear_logprob/linear_logprob.h"
#include "model/layers/adamw.h"
#include "model/layers/bias.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// Some of the sequences, as the forward pass takes them: what comes before the first scored token (the prompt) is a sequence of
// its own, the prefix of what follows, and neighbours with the same prompt share it. The last token of a sequence predicts
// nothing that is asked for, and a sequence without scored tokens nothing at all: neither goes through the network. (With `whole`
// the last token does: its own hidden state is asked for.)
struct MicroBatch {
  const bool whole = false;
  int64_t first_sequence = 0, sequences = 0, first_scored = 0, scored = 0;
  std::vector<int32_t> targets, cu_targets;  // scored tokens; their offsets by sequence
  std::vector<int32_t> query_of_target;      // the query that predicts each: several completions may start from one
  std::vector<int32_t> query_of_token;       // with `whole`: the query that each is
  std::vector<int32_t> ids, cu_seqlens, query_begin, cu_queries, prefix;  // as in PackedBatch

  // Sequences from `first` on, until `micro_batch_tokens` go through the network; at least one. Returns the sequence after the last.
  int64_t Fill(const Sequences& all, const std::vector<int32_t>& cu_scored, int64_t first) {
    for (std::vector<int32_t>* list : {&targets, &query_of_target, &query_of_token, &ids, &query_begin, &prefix}) list->clear();
    for (std::vector<int32_t>* list : {&cu_targets, &cu_seqlens, &cu_queries}) list->assign(1, 0);
    int64_t s = first, shared = -1;  // the sequence whose prompt went in last
    int32_t root = -1;               // that prompt's place in the packed batch
    for (; s < all.count(); ++s) {
      const int32_t *begin = all.ids.data() + all.cu_seqlens[s], *end = all.ids.data() + all.cu_seqlens[s + 1], *start = begin + all.start[s];
      if (start < end) {
        const bool shares = shared >= 0 && all.start[shared] == all.start[s] && std::equal(begin, start, all.ids.data() + all.cu_seqlens[shared]);
        const int32_t* fed_end = whole ? end : end - 1;
        const int64_t fed = (shares ? 0 : start - begin) + (fed_end - start);
        if (s > first && static_cast<int64_t>(ids.size()) + fed > all.micro_batch_tokens) break;
        if (!shares) {
          root = static_cast<int32_t>(prefix.size());
          Push(begin, start, start - begin - 1, -1);
          shared = s;
        }
        query_of_target.push_back(cu_queries[static_cast<size_t>(root) + 1] - 1);
        for (int64_t i = 0; i < end - 1 - start; ++i) query_of_target.push_back(cu_queries.back() + static_cast<int32_t>(i));
        for (int64_t i = 0; whole && i < end - start; ++i) query_of_token.push_back(cu_queries.back() + static_cast<int32_t>(i));
        if (fed_end > start) Push(start, fed_end, 0, root);
        targets.insert(targets.end(), start, end);
      }
      cu_targets.push_back(static_cast<int32_t>(targets.size()));
    }
    first_sequence = first;
    sequences = s - first;
    first_scored = cu_scored[first];
    scored = static_cast<int64_t>(targets.size());
    return s;
  }

  PackedBatch packed() const {
    return {static_cast<int64_t>(ids.size()), static_cast<int64_t>(prefix.size()), cu_queries.back(), ids.data(), cu_seqlens.data(),
            query_begin.data(), cu_queries.data(), prefix.data()};
  }

  // hidden [queries, width] -> the rows of some queries (one may come more than once); and the sum of those rows' gradients back.
  static void Gather(const float* hidden, int64_t width, const std::vector<int32_t>& which, float* rows) {
    ParallelRows(static_cast<int64_t>(which.size()), 256, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) std::memcpy(rows + t * width, hidden + which[t] * width, static_cast<size_t>(width) * sizeof(float));
    });
  }
  void ScatterAdd(const float* d_rows, int64_t width, const std::vector<int32_t>& which, float* d_hidden) const {
    std::memset(d_hidden, 0, static_cast<size_t>(cu_queries.back() * width) * sizeof(float));
    for (size_t t = 0; t < which.size(); ++t) AddColumnSumsCpu(1, width, d_rows + t * width, width, d_hidden + which[t] * width);
  }

  // The queries of the steps that end here; `ends` among all scored tokens, rising. *first: the first of them.
  std::vector<int32_t> QueriesOfSteps(const std::vector<int32_t>& ends, int64_t* first) const {
    const auto begin = std::lower_bound(ends.begin(), ends.end(), first_scored);
    const auto end = std::lower_bound(begin, ends.end(), first_scored + scored);
    *first = begin - ends.begin();
    std::vector<int32_t> queries;
    for (auto i = begin; i != end; ++i) queries.push_back(query_of_token[static_cast<size_t>(*i - first_scored)]);
    return queries;
  }

 private:
  void Push(const int32_t* begin, const int32_t* end, int64_t first_query, int32_t before) {
    ids.insert(ids.end(), begin, end);
    cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
    query_begin.push_back(static_cast<int32_t>(first_query));
    cu_queries.push_back(cu_queries.back() + static_cast<int32_t>(end - begin - first_query));
    prefix.push_back(before);
  }
};

void Add(LossSums* total, const LossSums& part) {
  double* to = &total->loss;
  const double* from = &part.loss;
  const double max = std::max(total->ratio_max, part.ratio_max), min = std::min(total->ratio_min, part.ratio_min);
  for (size_t i = 0; i < sizeof(LossSums) / sizeof(double); ++i) to[i] += from[i];
  total->ratio_max = max;
  total->ratio_min = min;
}

// Cleared, for a first micro-batch to be added to.
LossSums NoSums() {
  LossSums sums{};
  sums.ratio_max = -INFINITY;
  sums.ratio_min = INFINITY;
  return sums;
}

const float* From(const std::vector<float>& values, int64_t first) { return values.empty() ? nullptr : values.data() + first; }

}  // namespace

std::vector<int32_t> Sequences::ScoredOffsets() const {
  std::vector<int32_t> offsets(1, 0);
  for (int64_t s = 0; s < count(); ++s) offsets.push_back(offsets.back() + (cu_seqlens[s + 1] - cu_seqlens[s] - start[s]));
  return offsets;
}

AdamWStep StepOf(const OptimizerParams& params, int64_t steps, double norm, bool decays) {
  AdamWStep step{};
  // As torch.nn.utils.clip_grad_norm_ does.
  const double clip = params.max_grad_norm / (norm + 1e-6);
  step.gradient_scale = static_cast<float>(clip < 1.0 ? clip : 1.0);
  step.one_minus_beta1 = static_cast<float>(1.0 - params.beta1);
  step.beta2 = static_cast<float>(params.beta2);
  step.one_minus_beta2 = static_cast<float>(1.0 - params.beta2);
  step.epsilon = static_cast<float>(params.epsilon);
  step.keep = decays ? static_cast<float>(1.0 - params.learning_rate * params.weight_decay) : 1.0f;
  step.step_size = static_cast<float>(params.learning_rate / (1.0 - std::pow(params.beta1, static_cast<double>(steps))));
  step.correction = static_cast<float>(std::sqrt(1.0 - std::pow(params.beta2, static_cast<double>(steps))));
  return step;
}

Policy::Policy(const ModelConfig& model_config) : config(model_config), layout(config), transformer_(config, layout) {
  std::memset(values_.Reserve(layout.size), 0, static_cast<size_t>(layout.size) * sizeof(float));
}

void Policy::Initialize(uint64_t seed) { prl::Initialize(config, layout, seed, values_.data()); }

std::unique_ptr<Policy> Policy::Clone() const {
  auto copy = std::make_unique<Policy>(config);
  std::memcpy(copy->values_.data(), values_.data(), static_cast<size_t>(layout.size) * sizeof(float));
  return copy;
}

float* Policy::Find(Arena arena, bool make) {
  const auto zeros = [&](Buffer<float>& buffer) {
    std::memset(buffer.Reserve(layout.size), 0, static_cast<size_t>(layout.size) * sizeof(float));
  };
  if (arena == Arena::kValues) return values_.data();
  if (arena == Arena::kGradients) return has_gradients_ ? gradients_.data() : nullptr;
  if (!has_moments_ && make) {
    zeros(moment1_);
    zeros(moment2_);
    has_moments_ = true;
  }
  if (!has_moments_) return nullptr;
  return arena == Arena::kMoment1 ? moment1_.data() : moment2_.data();
}

void Policy::ResetOptimizer() {
  moment1_.Free();
  moment2_.Free();
  has_moments_ = false;
  steps = 0;
}

// For the output head, a chunk of tokens at a time: about 16 MB of logits, and no more rows than keep that small.
float* Policy::Workspace(int64_t tokens, int64_t sequences, int64_t* chunk) {
  *chunk = std::clamp<int64_t>((int64_t{1} << 22) / config.vocab, 32, 2048);
  return workspace_.Reserve(LinearWorkspaceFloats(tokens, sequences, config.hidden, config.vocab, *chunk));
}

// Of targets, each predicted by a row of hidden [queries, hidden].
Status Policy::ScoreTokens(const std::vector<int32_t>& queries, const std::vector<int32_t>& targets, const float* hidden, float temperature,
                           float* logprob, float* entropy) {
  LinearLogprobArgs head{};
  head.tokens = static_cast<int64_t>(targets.size());
  float* rows = hidden_.Reserve(head.tokens * config.hidden);
  MicroBatch::Gather(hidden, config.hidden, queries, rows);
  head.width = config.hidden;
  head.vocab = config.vocab;
  head.hidden = rows;
  head.head = values_.data() + layout.head;
  head.targets = targets.data();
  head.temperature = temperature;
  head.logprob = logprob;
  head.entropy = entropy;
  head.workspace = Workspace(head.tokens, 0, &head.chunk);
  return LinearLogprobCpu(head);
}

Status Policy::LogProbs(const Sequences& all, float* logprob, float* entropy) {
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  MicroBatch micro;
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "logProbs was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    const float* hidden = transformer_.Forward(values_.data(), micro.packed(), false);
    PRL_RETURN_IF_ERROR(ScoreTokens(micro.query_of_target, micro.targets, hidden, all.temperature, logprob + micro.first_scored,
                                    entropy ? entropy + micro.first_scored : nullptr));
  }
  return Ok();
}

Status Policy::StepStates(const Sequences& all, const std::vector<int32_t>& ends, float* states, float* logprob, int64_t* tokens) {
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  MicroBatch micro{true};
  *tokens = 0;
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "scoring was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    *tokens += static_cast<int64_t>(micro.ids.size());
    const float* hidden = transformer_.Forward(values_.data(), micro.packed(), false);
    int64_t first = 0;
    const std::vector<int32_t> queries = micro.QueriesOfSteps(ends, &first);
    if (states) micro.Gather(hidden, config.hidden, queries, states + first * config.hidden);
    if (logprob) {
      PRL_RETURN_IF_ERROR(ScoreTokens(micro.query_of_target, micro.targets, hidden, all.temperature, logprob + micro.first_scored, nullptr));
    }
  }
  return Ok();
}

Status Policy::StepGradients(const Sequences& all, const std::vector<int32_t>& ends, const StepLoss& loss, double* sum_squares) {
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  has_gradients_ = false;
  float* gradients = gradients_.Reserve(layout.size);
  std::memset(gradients, 0, static_cast<size_t>(layout.size) * sizeof(float));
  MicroBatch micro{true};
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "the update was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    const float* hidden = transformer_.Forward(values_.data(), micro.packed(), true);
    int64_t first = 0;
    const std::vector<int32_t> queries = micro.QueriesOfSteps(ends, &first);
    const int64_t steps = static_cast<int64_t>(queries.size());
    float *rows = hidden_.Reserve(steps * config.hidden), *d_rows = d_hidden_.Reserve(steps * config.hidden);
    micro.Gather(hidden, config.hidden, queries, rows);
    PRL_RETURN_IF_ERROR(loss(first, steps, rows, d_rows));
    float* d_queries = hidden_.Reserve(micro.cu_queries.back() * config.hidden);
    micro.ScatterAdd(d_rows, config.hidden, queries, d_queries);
    transformer_.Backward(values_.data(), micro.packed(), d_queries, gradients);
  }
  *sum_squares = SumSquaresCpu(layout.size, gradients, partial_.Reserve(SumSquaresPieces(layout.size)));
  has_gradients_ = true;
  return Ok();
}

Status Policy::Logits(const std::vector<int32_t>& ids, float* logits) {
  const int32_t n = static_cast<int32_t>(ids.size()), offsets[2] = {0, n}, begin[1] = {0};
  if (n == 0) return Ok();
  const float* hidden = transformer_.Forward(values_.data(), {n, 1, n, ids.data(), offsets, begin, offsets, nullptr}, false);
  GemmCpu({n, config.vocab, config.hidden, hidden, config.hidden, 1, values_.data() + layout.head, 1, config.hidden, logits, config.vocab,
           false, nullptr});
  return Ok();
}

Status Policy::ComputeGradients(const TrainingBatch& batch, LossSums* sums, double* norm, bool* finite) {
  const Sequences& all = batch.sequences;
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  has_gradients_ = false;
  float* gradients = gradients_.Reserve(layout.size);
  std::memset(gradients, 0, static_cast<size_t>(layout.size) * sizeof(float));
  *sums = NoSums();
  *norm = NAN;
  *finite = false;
  MicroBatch micro;
  std::vector<float> logprob, entropy;
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "the update was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    const size_t scored = static_cast<size_t>(micro.scored);
    logprob.resize(scored);
    entropy.resize(scored);
    float *hidden = hidden_.Reserve(micro.scored * config.hidden), *d_hidden = d_hidden_.Reserve(micro.scored * config.hidden);
    micro.Gather(transformer_.Forward(values_.data(), micro.packed(), true), config.hidden, micro.query_of_target, hidden);
    LossSums part;
    LinearPolicyLossArgs args{};
    LinearLogprobArgs& head = args.linear;
    head.tokens = micro.scored;
    head.width = config.hidden;
    head.vocab = config.vocab;
    head.hidden = hidden;
    head.head = values_.data() + layout.head;
    head.targets = micro.targets.data();
    head.temperature = all.temperature;
    head.logprob = logprob.data();
    head.entropy = entropy.data();
    head.workspace = Workspace(micro.scored, micro.sequences, &head.chunk);
    args.batch.tokens = micro.scored;
    args.batch.sequences = micro.sequences;
    args.batch.cu_seqlens = micro.cu_targets.data();
    args.batch.advantages_per_token = batch.advantages_per_token;
    args.batch.advantages = batch.advantages.data() + (batch.advantages_per_token ? micro.first_scored : micro.first_sequence);
    args.batch.old_logprob = From(batch.old_logprob, micro.first_scored);
    args.batch.ref_logprob = From(batch.ref_logprob, micro.first_scored);
    args.batch.importance_weight = From(batch.importance_weight, micro.first_scored);
    args.batch.sampling_logprob = From(batch.sampling_logprob, micro.first_scored);
    args.batch.mask = batch.mask.empty() ? nullptr : batch.mask.data() + micro.first_scored;
    args.params = batch.loss;
    args.d_hidden = d_hidden;
    args.d_head = gradients + layout.head;
    args.add_to_head = true;
    args.sums = &part;
    const Status status = LinearPolicyLossCpu(args);
    if (status.code == Code::kNonFinite) {
      sums->loss = NAN;
      return Ok();
    }
    PRL_RETURN_IF_ERROR(status);
    Add(sums, part);
    micro.ScatterAdd(d_hidden, config.hidden, micro.query_of_target, hidden);
    transformer_.Backward(values_.data(), micro.packed(), hidden, gradients);
  }
  *norm = std::sqrt(SumSquaresCpu(layout.size, gradients, partial_.Reserve(SumSquaresPieces(layout.size))));
  *finite = std::isfinite(*norm) && std::isfinite(sums->loss);
  has_gradients_ = true;
  return Ok();
}

void Policy::Step(const OptimizerParams& params, double norm) {
  float *m = Find(Arena::kMoment1, true), *v = Find(Arena::kMoment2, true);
  ++steps;
  for (const Parameter& p : layout.parameters) {
    AdamWCpu(StepOf(params, steps, norm, p.matrix()), p.size, gradients_.data() + p.offset, values_.data() + p.offset, m + p.offset,
             v + p.offset);
  }
}

}  // namespace prl
