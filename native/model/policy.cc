#include "model/policy.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

namespace prl {
namespace {

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

// What is queued when a call ends would write to memory of the caller: it ends before.
struct Settled {
  Network& network;
  ~Settled() { (void)network.Wait(); }
};

}  // namespace

Policy::Policy(std::unique_ptr<Network> network)
    : network_(std::move(network)), config(network_->config), layout(network_->layout), dtype(network_->dtype) {}

// The first of the two failures: of a stage, or of what it queued.
Status Policy::Settle(const Status& stage) const {
  const Status waited = network_->Wait();
  return stage.ok() ? waited : stage;
}

Status Policy::Initialize(uint64_t seed) {
  constexpr int64_t kPiece = 1 << 20;
  Buffer<float> drawn;
  for (size_t i = 0; i < layout.parameters.size(); ++i) {
    const Parameter& p = layout.parameters[i];
    for (int64_t first = 0; first < p.size; first += kPiece) {
      const int64_t n = std::min(kPiece, p.size - first);
      prl::Initialize(config, layout, i, seed, first, n, drawn.Reserve(n));
      PRL_RETURN_IF_ERROR(network_->Write(Arena::kValues, p.offset + first, n, drawn.data()));
    }
  }
  return network_->Wait();
}

Status Policy::Clone(std::unique_ptr<Policy>* copy) const {
  std::unique_ptr<Network> network;
  PRL_RETURN_IF_ERROR(network_->Clone(&network));
  *copy = std::make_unique<Policy>(std::move(network));
  return network_->Wait();
}

bool Policy::Has(Arena arena) const { return arena == Arena::kGradients ? has_gradients_ : network_->Has(arena); }

bool Policy::Writable(Arena arena) const {
  return arena != Arena::kGradients && (arena != Arena::kMaster || dtype == DType::kBFloat16);
}

Status Policy::Read(Arena arena, const Parameter& p, int64_t first, int64_t n, DType type, void* out) {
  return Settle(network_->Read(arena, p.offset + first, n, type, out));
}

Status Policy::Write(Arena arena, const Parameter& p, const float* values) {
  return Settle(network_->Write(arena, p.offset, p.size, values));
}

Status Policy::Load(Arena arena, const Parameter& p, int fd, int64_t offset, DType type) {
  return Settle(network_->Load(arena, p.offset, p.size, fd, offset, type));
}

void Policy::ResetOptimizer() {
  network_->DropMoments();
  steps = 0;
}

// Calls run(micro-batch) for all that have scored tokens, and waits.
template <typename F>
Status Policy::EachMicroBatch(const Sequences& all, bool whole, const char* what, const F& run) {
  const Settled settled{*network_};
  const std::vector<int32_t> cu_scored = all.ScoredOffsets();
  MicroBatch micro{whole};
  for (int64_t next = 0; next < all.count();) {
    if (cancelled) return Error(Code::kAborted, "%s was aborted", what);
    next = micro.Fill(all, cu_scored, next);
    if (micro.scored > 0) PRL_RETURN_IF_ERROR(run(micro));
  }
  return network_->Wait();
}

Status Policy::LogProbs(const Sequences& all, float* logprob, float* entropy, int32_t* top1) {
  return EachMicroBatch(all, false, "logProbs", [&](const MicroBatch& micro) {
    PRL_RETURN_IF_ERROR(network_->Forward(micro.packed(), Keep::kNothing));
    return network_->Score(micro.scored_tokens(all.temperature), logprob + micro.first_scored,
                           entropy ? entropy + micro.first_scored : nullptr,
                           top1 ? top1 + micro.first_scored : nullptr);
  });
}

Status Policy::StepStates(const Sequences& all, const std::vector<int32_t>& ends, float* states, float* logprob,
                          int64_t* tokens) {
  *tokens = 0;
  return EachMicroBatch(all, true, "scoring", [&](const MicroBatch& micro) {
    *tokens += static_cast<int64_t>(micro.ids.size());
    PRL_RETURN_IF_ERROR(network_->Forward(micro.packed(), Keep::kNothing));
    int64_t first = 0;
    const std::vector<int32_t> queries = micro.QueriesOfSteps(ends, &first);
    const int64_t n = static_cast<int64_t>(queries.size());
    if (states) PRL_RETURN_IF_ERROR(network_->States(n, queries.data(), states + first * config.hidden));
    if (!logprob) return Ok();
    return network_->Score(micro.scored_tokens(all.temperature), logprob + micro.first_scored, nullptr, nullptr);
  });
}

Status Policy::StepGradients(const Sequences& all, const std::vector<int32_t>& ends, const StepLoss& loss,
                             double* sum_squares) {
  has_gradients_ = false;
  PRL_RETURN_IF_ERROR(network_->ClearGradients());
  PRL_RETURN_IF_ERROR(EachMicroBatch(all, true, "the update", [&](const MicroBatch& micro) {
    PRL_RETURN_IF_ERROR(network_->Forward(micro.packed(), Keep::kAll));
    int64_t first = 0;
    const std::vector<int32_t> queries = micro.QueriesOfSteps(ends, &first);
    const int64_t n = static_cast<int64_t>(queries.size());
    float *states = states_.Reserve(n * config.hidden), *d_states = d_states_.Reserve(n * config.hidden);
    PRL_RETURN_IF_ERROR(network_->States(n, queries.data(), states));
    PRL_RETURN_IF_ERROR(network_->Wait());
    PRL_RETURN_IF_ERROR(loss(first, n, states, d_states));
    PRL_RETURN_IF_ERROR(network_->SetStateGradients(n, queries.data(), d_states));
    return network_->Backward();
  }));
  PRL_RETURN_IF_ERROR(Settle(network_->SumSquares(sum_squares)));
  has_gradients_ = true;
  return Ok();
}

Status Policy::Logits(const std::vector<int32_t>& ids, float* logits) {
  const int32_t n = static_cast<int32_t>(ids.size()), offsets[2] = {0, n}, begin[1] = {0};
  if (n == 0) return Ok();
  const Settled settled{*network_};
  PRL_RETURN_IF_ERROR(network_->Forward({n, 1, n, ids.data(), offsets, begin, offsets, nullptr}, Keep::kNothing));
  PRL_RETURN_IF_ERROR(network_->Logits(logits));
  return network_->Wait();
}

Status Policy::ComputeGradients(const TrainingBatch& batch, LossSums* sums, int64_t* top1, double* norm, bool* finite) {
  const Sequences& all = batch.sequences;
  has_gradients_ = false;
  *sums = NoSums();
  *norm = NAN;
  *finite = false;
  PRL_RETURN_IF_ERROR(network_->ClearGradients());
  std::deque<LossSums> parts;  // of the micro-batches; their places stay
  std::vector<int32_t> most_likely(static_cast<size_t>(all.ScoredOffsets().back()));
  const auto run = [&](const MicroBatch& micro) {
    PRL_RETURN_IF_ERROR(network_->Forward(micro.packed(), batch.recompute ? Keep::kInputs : Keep::kAll));
    LossBatch loss{};
    loss.tokens = micro.scored;
    loss.sequences = micro.sequences;
    loss.cu_seqlens = micro.cu_targets.data();
    loss.advantages_per_token = batch.advantages_per_token;
    loss.advantages =
        batch.advantages.data() + (batch.advantages_per_token ? micro.first_scored : micro.first_sequence);
    loss.old_logprob = From(batch.old_logprob, micro.first_scored);
    loss.ref_logprob = From(batch.ref_logprob, micro.first_scored);
    loss.importance_weight = From(batch.importance_weight, micro.first_scored);
    loss.sampling_logprob = From(batch.sampling_logprob, micro.first_scored);
    loss.mask = batch.mask.empty() ? nullptr : batch.mask.data() + micro.first_scored;
    parts.emplace_back();
    const Status status = network_->Loss(micro.scored_tokens(all.temperature), loss, batch.loss, &parts.back(),
                                         most_likely.data() + micro.first_scored);
    if (!status.ok()) parts.pop_back();
    PRL_RETURN_IF_ERROR(status);
    return network_->Backward();
  };
  const Status status = EachMicroBatch(all, false, "the update", run);
  if (!status.ok() && status.code != Code::kNonFinite) return status;
  for (const LossSums& part : parts) Add(sums, part);
  *top1 = std::accumulate(most_likely.begin(), most_likely.end(), int64_t{0});
  if (!status.ok()) {
    sums->loss = NAN;
    return Ok();
  }
  double squares = 0;
  PRL_RETURN_IF_ERROR(Settle(network_->SumSquares(&squares)));
  *norm = std::sqrt(squares);
  *finite = std::isfinite(*norm) && std::isfinite(sums->loss);
  has_gradients_ = true;
  return Ok();
}

Status Policy::Step(const OptimizerParams& params, double norm, bool* applied) {
  const AdamWStep matrices = StepOf(params, steps + 1, norm, true), vectors = StepOf(params, steps + 1, norm, false);
  PRL_RETURN_IF_ERROR(Settle(network_->Step(matrices, vectors, applied)));
  if (*applied) ++steps;
  return Ok();
}

Status Policy::Generate(const GenerateRequest& request, const std::function<void(const GenerateProgress&)>& progress,
                        std::vector<GeneratedCompletion>* completions) {
  return prl::Generate(*network_, request, cancelled, progress, completions);
}

}  // namespace prl
