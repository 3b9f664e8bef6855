#include "model/policy.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/linear_logprob/linear_logprob.h"
#include "model/layers/adamw/adamw.h"
#include "model/layers/bias/bias.h"
#include "model/tensor_file.h"
#include "runtime/cpu/convert.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// Some of the sequences, as the forward pass takes them: what comes before the first scored token (the prompt) is a
// sequence of its own, the prefix of what follows, and neighbours with the same prompt share it. The last token of a
// sequence predicts nothing that is asked for, and a sequence without scored tokens nothing at all: neither goes
// through the network. (With `whole` the last token does: its own hidden state is asked for.)
struct MicroBatch {
  explicit MicroBatch(bool whole_sequences = false) : whole(whole_sequences) {}

  const bool whole;
  int64_t first_sequence = 0, sequences = 0, first_scored = 0, scored = 0;
  std::vector<int32_t> targets, cu_targets;  // scored tokens; their offsets by sequence
  std::vector<int32_t> query_of_target;      // the query that predicts each: several completions may start from one
  std::vector<int32_t> query_of_token;       // with `whole`: the query that each is
  std::vector<int32_t> ids, cu_seqlens, query_begin, cu_queries, prefix;  // as in PackedBatch

  // Sequences from `first` on, until `micro_batch_tokens` go through the network; at least one. Returns the sequence
  // after the last.
  int64_t Fill(const Sequences& all, const std::vector<int32_t>& cu_scored, int64_t first) {
    for (std::vector<int32_t>* list : {&targets, &query_of_target, &query_of_token, &ids, &query_begin, &prefix})
      list->clear();
    for (std::vector<int32_t>* list : {&cu_targets, &cu_seqlens, &cu_queries}) list->assign(1, 0);
    int64_t s = first, shared = -1;  // the sequence whose prompt went in last
    int32_t root = -1;               // that prompt's place in the packed batch
    for (; s < all.count(); ++s) {
      const int32_t *begin = all.ids.data() + all.cu_seqlens[s], *end = all.ids.data() + all.cu_seqlens[s + 1],
                    *start = begin + all.start[s];
      if (start < end) {
        const bool shares = shared >= 0 && all.start[shared] == all.start[s] &&
                            std::equal(begin, start, all.ids.data() + all.cu_seqlens[shared]);
        const int32_t* fed_end = whole ? end : end - 1;
        const int64_t fed = (shares ? 0 : start - begin) + (fed_end - start);
        if (s > first && static_cast<int64_t>(ids.size()) + fed > all.micro_batch_tokens) break;
        if (!shares) {
          root = static_cast<int32_t>(prefix.size());
          Push(begin, start, start - begin - 1, -1);
          shared = s;
        }
        query_of_target.push_back(cu_queries[static_cast<size_t>(root) + 1] - 1);
        for (int64_t i = 0; i < end - 1 - start; ++i)
          query_of_target.push_back(cu_queries.back() + static_cast<int32_t>(i));
        for (int64_t i = 0; whole && i < end - start; ++i)
          query_of_token.push_back(cu_queries.back() + static_cast<int32_t>(i));
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
    return {static_cast<int64_t>(ids.size()),
            static_cast<int64_t>(prefix.size()),
            cu_queries.back(),
            ids.data(),
            cu_seqlens.data(),
            query_begin.data(),
            cu_queries.data(),
            prefix.data()};
  }

  // hidden [queries, width] -> the rows of some queries (one may come more than once); and the sum of those rows'
  // gradients back.
  static void Gather(const float* hidden, int64_t width, const std::vector<int32_t>& which, float* rows) {
    ParallelRows(static_cast<int64_t>(which.size()), 256, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        std::memcpy(rows + t * width, hidden + which[t] * width, static_cast<size_t>(width) * sizeof(float));
    });
  }
  void ScatterAdd(const float* d_rows, int64_t width, const std::vector<int32_t>& which, float* d_hidden) const {
    std::memset(d_hidden, 0, static_cast<size_t>(cu_queries.back() * width) * sizeof(float));
    for (size_t t = 0; t < which.size(); ++t)
      AddColumnSumsCpu(1, width, d_rows + t * width, width, d_hidden + which[t] * width);
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

const float* From(const std::vector<float>& values, int64_t first) {
  return values.empty() ? nullptr : values.data() + first;
}

}  // namespace

std::vector<int32_t> Sequences::ScoredOffsets() const {
  std::vector<int32_t> offsets(1, 0);
  for (int64_t s = 0; s < count(); ++s)
    offsets.push_back(offsets.back() + (cu_seqlens[s + 1] - cu_seqlens[s] - start[s]));
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
  step.step_size =
      static_cast<float>(params.learning_rate / (1.0 - std::pow(params.beta1, static_cast<double>(steps))));
  step.correction = static_cast<float>(std::sqrt(1.0 - std::pow(params.beta2, static_cast<double>(steps))));
  return step;
}

Policy::Policy(const ModelConfig& model_config, DType storage)
    : config(model_config), layout(config), dtype(storage), transformer_(config, layout) {
  values_.Zeros(dtype == DType::kBFloat16 ? layout.vectors : layout.size);
  if (dtype == DType::kBFloat16) bf16_.Zeros(layout.size);
}

Weights Policy::weights() const {
  if (dtype == DType::kBFloat16) return {values_.data(), nullptr, bf16_.data()};
  return {values_.data(), values_.data(), nullptr};
}

void Policy::Initialize(uint64_t seed) {
  Buffer<float> drawn;
  for (size_t i = 0; i < layout.parameters.size(); ++i) {
    const Parameter& p = layout.parameters[i];
    if (dtype == DType::kFloat32) {
      prl::Initialize(config, layout, i, seed, values_.data() + p.offset);
    } else {
      prl::Initialize(config, layout, i, seed, drawn.Reserve(layout.largest));
      Write(Arena::kValues, p, drawn.data());
    }
  }
}

std::unique_ptr<Policy> Policy::Clone() const {
  auto copy = std::make_unique<Policy>(config, dtype);
  const auto fill = [](auto* to, const auto* from, int64_t n) {
    ParallelRows(n, 1 << 18, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(*to));
    });
  };
  fill(copy->values_.data(), values_.data(), bf16_.data() ? layout.vectors : layout.size);
  if (bf16_.data()) fill(copy->bf16_.data(), bf16_.data(), layout.size);
  return copy;
}

// Keeps the float32 copy of a vector.
void Policy::Changed(const Parameter& p) {
  if (bf16_.data() && !p.matrix())
    ConvertCpu(p.size, DType::kBFloat16, bf16_.data() + p.offset, DType::kFloat32, values_.data() + p.offset);
}

void Policy::MakeOptimizer() {
  if (dtype == DType::kBFloat16 && !has_masters_) {
    low_.Zeros(layout.size);
    has_masters_ = true;
  }
  if (!has_moments_) {
    moment1_.Zeros(layout.size);
    moment2_.Zeros(layout.size);
    has_moments_ = true;
  }
}

bool Policy::Read(Arena arena, const Parameter& p, int64_t first, int64_t n, DType type, void* out) {
  const int64_t offset = p.offset + first;
  const float* from = nullptr;
  if (arena == Arena::kMaster) {
    if (!has_masters_ || type != DType::kFloat32) return false;
    ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        static_cast<float*>(out)[i] = MasterOf(bf16_.data()[offset + i].bits, low_.data()[offset + i]);
    });
    return true;
  }
  if (arena == Arena::kValues) from = values_.data();
  if (arena == Arena::kGradients) from = has_gradients_ ? gradients_.data() : nullptr;
  if (arena == Arena::kMoment1) from = has_moments_ ? moment1_.data() : nullptr;
  if (arena == Arena::kMoment2) from = has_moments_ ? moment2_.data() : nullptr;
  if (!from) return false;
  const bool narrow = arena == Arena::kValues && dtype == DType::kBFloat16;
  const auto width = static_cast<int64_t>(SizeOf(type));
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    void* to = static_cast<char*>(out) + begin * width;
    if (narrow) {
      ConvertCpu(end - begin, DType::kBFloat16, bf16_.data() + offset + begin, type, to);
    } else {
      ConvertCpu(end - begin, DType::kFloat32, from + offset + begin, type, to);
    }
  });
  return true;
}

bool Policy::Write(Arena arena, const Parameter& p, const float* values) {
  if (arena == Arena::kGradients || (arena == Arena::kMaster && dtype != DType::kBFloat16)) return false;
  if (arena != Arena::kValues) MakeOptimizer();
  const bool narrow = arena == Arena::kValues && dtype == DType::kBFloat16;
  float* to = arena == Arena::kMoment1 ? moment1_.data() : arena == Arena::kMoment2 ? moment2_.data() : values_.data();
  ParallelRows(p.size, 16384, [&](int64_t begin, int64_t end) {
    const int64_t at = p.offset + begin, n = end - begin;
    if (arena == Arena::kMaster) {
      for (int64_t i = 0; i < n; ++i) SplitMaster(values[begin + i], &bf16_.data()[at + i].bits, low_.data() + at + i);
    } else if (narrow) {
      ConvertCpu(n, DType::kFloat32, values + begin, DType::kBFloat16, bf16_.data() + at);
      if (has_masters_) std::memset(low_.data() + at, 0, static_cast<size_t>(n) * sizeof(uint16_t));
    } else {
      std::memcpy(to + at, values + begin, static_cast<size_t>(n) * sizeof(float));
    }
  });
  Changed(p);
  return true;
}

// Optimizer state with a number that no step leaves would make every step after it one that is not applied.
static Status CheckState(Arena arena, int64_t n, const float* values) {
  std::atomic<bool> legal{true};
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    bool good = true;
    for (int64_t i = begin; i < end; ++i)
      good = good && std::isfinite(values[i]) && (arena != Arena::kMoment2 || values[i] >= 0.0f);
    if (!good) legal = false;
  });
  return legal ? Ok()
               : Error(Code::kCorrupt, "it holds a number that is not finite%s",
                       arena == Arena::kMoment2 ? ", or negative" : "");
}

Status Policy::Load(Arena arena, const Parameter& p, int fd, int64_t offset, DType type) {
  if (arena == Arena::kMaster) {
    Buffer<float> values;
    PRL_RETURN_IF_ERROR(ReadValues(fd, offset, type, p.size, DType::kFloat32, values.Reserve(p.size)));
    PRL_RETURN_IF_ERROR(CheckState(arena, p.size, values.data()));
    Write(arena, p, values.data());
    return Ok();
  }
  if (arena != Arena::kValues) {
    MakeOptimizer();
    float* moment = (arena == Arena::kMoment1 ? moment1_ : moment2_).data() + p.offset;
    PRL_RETURN_IF_ERROR(ReadValues(fd, offset, type, p.size, DType::kFloat32, moment));
    return CheckState(arena, p.size, moment);
  }
  void* to = bf16_.data() ? static_cast<void*>(bf16_.data() + p.offset) : values_.data() + p.offset;
  PRL_RETURN_IF_ERROR(ReadValues(fd, offset, type, p.size, dtype, to));
  if (has_masters_) std::memset(low_.data() + p.offset, 0, static_cast<size_t>(p.size) * sizeof(uint16_t));
  Changed(p);
  return Ok();
}

void Policy::ResetOptimizer() {
  moment1_.Free();
  moment2_.Free();
  has_moments_ = false;
  steps = 0;
}

// The output head over these rows, a chunk of them at a time: about 16 MB of logits, and no more rows than keep that
// small. `sequences` of a loss; 0 without one.
LinearLogprobArgs Policy::HeadOf(const float* hidden, const std::vector<int32_t>& targets, int64_t sequences,
                                 float temperature, float* logprob, float* entropy) {
  LinearLogprobArgs head{};
  head.tokens = static_cast<int64_t>(targets.size());
  head.width = config.hidden;
  head.vocab = config.vocab;
  head.hidden = hidden;
  head.head =
      dtype == DType::kBFloat16 ? static_cast<const void*>(bf16_.data() + layout.head) : values_.data() + layout.head;
  head.bf16_head = dtype == DType::kBFloat16;
  head.targets = targets.data();
  head.temperature = temperature;
  head.logprob = logprob;
  head.entropy = entropy;
  head.chunk = std::clamp<int64_t>((int64_t{1} << 22) / config.vocab, 32, 2048);
  head.workspace =
      workspace_.Reserve(LinearWorkspaceFloats(head.tokens, sequences, config.hidden, config.vocab, head.chunk));
  return head;
}

// Of targets, each predicted by a row of hidden [queries, hidden].
Status Policy::ScoreTokens(const std::vector<int32_t>& queries, const std::vector<int32_t>& targets,
                           const float* hidden, float temperature, float* logprob, float* entropy) {
  float* rows = hidden_.Reserve(static_cast<int64_t>(targets.size()) * config.hidden);
  MicroBatch::Gather(hidden, config.hidden, queries, rows);
  return LinearLogprobCpu(HeadOf(rows, targets, 0, temperature, logprob, entropy));
}

Status Policy::LogProbs(const Sequences& all, float* logprob, float* entropy) {
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  MicroBatch micro;
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "logProbs was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    const float* hidden = transformer_.Forward(weights(), micro.packed(), Transformer::Keep::kNothing);
    PRL_RETURN_IF_ERROR(ScoreTokens(micro.query_of_target, micro.targets, hidden, all.temperature,
                                    logprob + micro.first_scored, entropy ? entropy + micro.first_scored : nullptr));
  }
  return Ok();
}

Status Policy::StepStates(const Sequences& all, const std::vector<int32_t>& ends, float* states, float* logprob,
                          int64_t* tokens) {
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  MicroBatch micro{true};
  *tokens = 0;
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "scoring was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    *tokens += static_cast<int64_t>(micro.ids.size());
    const float* hidden = transformer_.Forward(weights(), micro.packed(), Transformer::Keep::kNothing);
    int64_t first = 0;
    const std::vector<int32_t> queries = micro.QueriesOfSteps(ends, &first);
    if (states) micro.Gather(hidden, config.hidden, queries, states + first * config.hidden);
    if (logprob) {
      PRL_RETURN_IF_ERROR(ScoreTokens(micro.query_of_target, micro.targets, hidden, all.temperature,
                                      logprob + micro.first_scored, nullptr));
    }
  }
  return Ok();
}

Status Policy::StepGradients(const Sequences& all, const std::vector<int32_t>& ends, const StepLoss& loss,
                             double* sum_squares) {
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  has_gradients_ = false;
  float* gradients = gradients_.Reserve(layout.size);
  std::memset(gradients, 0, static_cast<size_t>(layout.size) * sizeof(float));
  MicroBatch micro{true};
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "the update was aborted");
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored == 0) continue;
    const float* hidden = transformer_.Forward(weights(), micro.packed(), Transformer::Keep::kAll);
    int64_t first = 0;
    const std::vector<int32_t> queries = micro.QueriesOfSteps(ends, &first);
    const int64_t steps = static_cast<int64_t>(queries.size());
    float *rows = hidden_.Reserve(steps * config.hidden), *d_rows = d_hidden_.Reserve(steps * config.hidden);
    micro.Gather(hidden, config.hidden, queries, rows);
    PRL_RETURN_IF_ERROR(loss(first, steps, rows, d_rows));
    float* d_queries = hidden_.Reserve(micro.cu_queries.back() * config.hidden);
    micro.ScatterAdd(d_rows, config.hidden, queries, d_queries);
    transformer_.Backward(weights(), micro.packed(), d_queries, gradients);
  }
  *sum_squares = SumSquaresCpu(layout.size, gradients, partial_.Reserve(SumSquaresPieces(layout.size)));
  has_gradients_ = true;
  return Ok();
}

Status Policy::Logits(const std::vector<int32_t>& ids, float* logits) {
  const int32_t n = static_cast<int32_t>(ids.size()), offsets[2] = {0, n}, begin[1] = {0};
  if (n == 0) return Ok();
  const float* hidden = transformer_.Forward(weights(), {n, 1, n, ids.data(), offsets, begin, offsets, nullptr},
                                             Transformer::Keep::kNothing);
  const Operand head = InPlace(weights(), layout.head);
  GemmCpu({n, config.vocab, config.hidden, hidden, config.hidden, 1, head.f32, 1, config.hidden, logits, config.vocab,
           false, nullptr, head.bf16});
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
    float *hidden = hidden_.Reserve(micro.scored * config.hidden),
          *d_hidden = d_hidden_.Reserve(micro.scored * config.hidden);
    const Transformer::Keep keep = batch.recompute ? Transformer::Keep::kInputs : Transformer::Keep::kAll;
    micro.Gather(transformer_.Forward(weights(), micro.packed(), keep), config.hidden, micro.query_of_target, hidden);
    LossSums part;
    LinearPolicyLossArgs args{};
    args.linear = HeadOf(hidden, micro.targets, micro.sequences, all.temperature, logprob.data(), entropy.data());
    args.batch.tokens = micro.scored;
    args.batch.sequences = micro.sequences;
    args.batch.cu_seqlens = micro.cu_targets.data();
    args.batch.advantages_per_token = batch.advantages_per_token;
    args.batch.advantages =
        batch.advantages.data() + (batch.advantages_per_token ? micro.first_scored : micro.first_sequence);
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
    transformer_.Backward(weights(), micro.packed(), hidden, gradients);
  }
  *norm = std::sqrt(SumSquaresCpu(layout.size, gradients, partial_.Reserve(SumSquaresPieces(layout.size))));
  *finite = std::isfinite(*norm) && std::isfinite(sums->loss);
  has_gradients_ = true;
  return Ok();
}

bool Policy::Step(const OptimizerParams& params, double norm) {
  MakeOptimizer();
  const bool narrow = dtype == DType::kBFloat16;
  const auto step_of = [&](const Parameter& p) { return StepOf(params, steps + 1, norm, p.matrix()); };
  for (const Parameter& p : layout.parameters) {
    const float *parameter = narrow ? nullptr : values_.data() + p.offset, *gradient = gradients_.data() + p.offset;
    const float *m = moment1_.data() + p.offset, *v = moment2_.data() + p.offset;
    const BFloat16* high = narrow ? bf16_.data() + p.offset : nullptr;
    const uint16_t* low = narrow ? low_.data() + p.offset : nullptr;
    if (!AdamWStaysFiniteCpu(step_of(p), p.size, gradient, parameter, high, low, m, v)) return false;
  }
  for (const Parameter& p : layout.parameters) {
    const float* gradient = gradients_.data() + p.offset;
    float *m = moment1_.data() + p.offset, *v = moment2_.data() + p.offset;
    if (narrow) {
      AdamWBFloat16Cpu(step_of(p), p.size, gradient, bf16_.data() + p.offset, low_.data() + p.offset, m, v);
    } else {
      AdamWCpu(step_of(p), p.size, gradient, values_.data() + p.offset, m, v);
    }
    Changed(p);
  }
  ++steps;
  return true;
}

}  // namespace prl
