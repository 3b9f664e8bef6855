// The head of a process reward model, and what it needs of a policy: the hidden states of steps.
#include "model/quantile_head.h"

#include <cmath>
#include <cstring>
#include <mutex>

#include "binding/box.h"
#include "binding/policy.h"
#include "binding/quantiles.h"
#include "binding/register.h"

namespace prl {
namespace {

// Random: marks our objects.
constexpr napi_type_tag kHeadTag = {0x3d7e20b94c5a41f8ull, 0x86f1a47d9e0b352cull};

// Background tasks hold the mutex while they use the head.
struct LockedHead {
  template <typename... Arguments>
  explicit LockedHead(Arguments&&... arguments) : head(std::forward<Arguments>(arguments)...) {}
  QuantileHead head;
  std::mutex mutex;
};
using SharedHead = std::shared_ptr<LockedHead>;

const SharedHead& HeadOf(const Args& args) {
  return Unbox<SharedHead>(args.env(), kHeadTag, args.Value("head"), "head", "an object that quantileHeadCreate made");
}

Napi::Value Create(const Napi::CallbackInfo& info) {
  const Args args(info);
  double level[kMaxQuantiles];
  const int32_t quantiles = ReadQuantiles(args, level);
  const int64_t hidden = args.Integer("hidden", 1, 1 << 20), features = args.Integer("features", 0, 1 << 10);
  const int64_t width = args.Integer("width", 1, 1 << 14);
  const int64_t before = BufferBytes();
  SharedHead head =
      std::make_shared<LockedHead>(hidden, features, width, std::vector<double>(level, level + quantiles));
  // What a task takes for the head later is told with the policy that it ran on.
  return Box(args.env(), kHeadTag, std::move(head), BufferBytes() - before);
}

Napi::Value Parameters(const Napi::CallbackInfo& info) {
  const Args args(info);
  return ParameterList(args.env(), HeadOf(args)->head.parameters());
}

// Copies `name` of `arena` (0 values, 1 gradients) to or from the tensor `tensor`; false when there is none yet.
template <typename Copy>
Napi::Value Access(const Args& args, const char* tensor, Copy copy) {
  const SharedHead& shared = HeadOf(args);
  std::unique_lock<std::mutex> lock(shared->mutex, std::try_to_lock);
  if (!lock) Throw(args.env(), Code::kBusy, "the head is busy with a call that has not ended: await it first");
  const std::string name = args.String("name");
  const Parameter* p = shared->head.Find(name);
  if (!p) Throw(args.env(), Code::kOutOfRange, "the head has no parameter '%.100s'", name.c_str());
  float* values = shared->head.Values(static_cast<Arena>(args.Integer("arena", 0, 1)));
  TensorArg other = args.Floats(tensor, p->size);
  if (values) copy(values + p->offset, other.f32(), static_cast<size_t>(p->size) * sizeof(float));
  return Napi::Boolean::New(args.env(), values != nullptr);
}

Napi::Value Read(const Napi::CallbackInfo& info) {
  return Access(Args(info), "out",
                [](const float* values, float* out, size_t bytes) { std::memcpy(out, values, bytes); });
}

Napi::Value Write(const Napi::CallbackInfo& info) {
  const Args args(info);
  if (args.Integer("arena", 0, 1) != 0) Throw(args.env(), Code::kOutOfRange, "gradients cannot be written");
  return Access(args, "data", [](float* values, const float* data, size_t bytes) { std::memcpy(values, data, bytes); });
}

// Rows for a background task, copied. `hidden` may be absent where the backbone makes it.
struct OwnRows {
  int64_t rows = 0;
  std::vector<float> hidden, features, targets;
  HeadRows view() const { return {rows, hidden.data(), features.data()}; }
};

OwnRows ReadRows(const Args& args, const QuantileHead& head, bool with_targets) {
  OwnRows own;
  const TensorArg hidden = args.Tensor("hidden", {DType::kFloat32});
  own.rows = hidden.elements / head.hidden;
  if (own.rows * head.hidden != hidden.elements)
    Throw(args.env(), Code::kOutOfRange, "hidden must have rows of %lld", (long long)head.hidden);
  own.hidden = CopyFloats(hidden);
  own.features = CopyFloats(args.Floats("features", own.rows * head.features));
  if (with_targets) own.targets = CopyFloats(args.Floats("targets", own.rows));
  return own;
}

Napi::Value Score(const Napi::CallbackInfo& info) {
  const Args args(info);
  const SharedHead head = HeadOf(args);
  const auto rows = std::make_shared<OwnRows>(ReadRows(args, head->head, false));
  const auto p = std::make_shared<std::vector<float>>(static_cast<size_t>(rows->rows * head->head.outputs()));
  return RunOnPolicy(
      args,
      [=](Policy&) {
        const std::lock_guard<std::mutex> lock(head->mutex);
        head->head.Forward(rows->view(), p->data());
        return Ok();
      },
      [=](Napi::Env env) { return ToFloat32Array(env, *p); });
}

struct UpdateState {
  OwnRows rows;
  bool step = false, applied = false;
  OptimizerParams optimizer{};
  double backbone_learning_rate = 0, loss = 0, norm = 0;
};

std::shared_ptr<UpdateState> ReadUpdate(const Args& args) {
  auto state = std::make_shared<UpdateState>();
  state->step = args.Boolean("step");
  if (state->step) state->optimizer = ParseOptimizer(args);
  return state;
}

Napi::Value UpdateResult(Napi::Env env, const UpdateState& state) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("loss", state.loss);
  result.Set("gradNorm", state.norm);
  result.Set("applied", state.applied);
  return result;
}

// What was not finite is told, not thrown: the weights stay as they were.
Status NotFinite(UpdateState* state) {
  state->loss = state->norm = NAN;
  return Ok();
}

// The head alone learns from rows that were made before.
Napi::Value Update(const Napi::CallbackInfo& info) {
  const Args args(info);
  const SharedHead head = HeadOf(args);
  const auto state = ReadUpdate(args);
  state->rows = ReadRows(args, head->head, true);
  return RunOnPolicy(
      args,
      [=](Policy&) {
        const std::lock_guard<std::mutex> lock(head->mutex);
        QuantileHead& h = head->head;
        h.ClearGradients();
        const Status status =
            h.AddGradients(state->rows.view(), state->rows.targets.data(), 0.0, &state->loss, nullptr);
        if (status.code == Code::kNonFinite) return NotFinite(state.get());
        PRL_RETURN_IF_ERROR(status);
        state->norm = std::sqrt(h.SumSquaresOfGradients());
        state->applied = state->step && std::isfinite(state->norm) && h.StaysFinite(state->optimizer, state->norm);
        if (state->applied) h.Step(state->optimizer, state->norm);
        return Ok();
      },
      [state](Napi::Env env) { return UpdateResult(env, *state); });
}

// The last token of each step among the scored tokens.
std::vector<int32_t> ReadStepEnds(const Args& args, int32_t scored) {
  const TensorArg ends = args.Tensor("stepEnds", {DType::kInt32});
  for (int64_t i = 0; i < ends.elements; ++i) {
    const int32_t before = i > 0 ? ends.i32()[i - 1] : -1;
    if (ends.i32()[i] <= before || ends.i32()[i] >= scored) {
      Throw(args.env(), Code::kOutOfRange,
            "stepEnds[%lld] = %d must rise and be below %d, the number of completion tokens", (long long)i,
            ends.i32()[i], scored);
    }
  }
  return {ends.i32(), ends.i32() + ends.elements};
}

// The same with the backbone: hidden states are made, and their gradient goes back through it.
Napi::Value FinetuneUpdate(const Napi::CallbackInfo& info) {
  const Args args(info);
  const SharedHead head = HeadOf(args);
  const auto state = ReadUpdate(args);
  const auto sequences = std::make_shared<Sequences>(ParseSequences(args, IdlePolicyOf(args)->config));
  const auto ends = std::make_shared<std::vector<int32_t>>(ReadStepEnds(args, sequences->ScoredOffsets().back()));
  if (IdlePolicyOf(args)->config.hidden != head->head.hidden)
    Throw(args.env(), Code::kOutOfRange, "the head is of another width than the policy");
  const int64_t steps = static_cast<int64_t>(ends->size());
  state->rows.features = CopyFloats(args.Floats("features", steps * head->head.features));
  state->rows.targets = CopyFloats(args.Floats("targets", steps));
  if (state->step) state->backbone_learning_rate = args.Number("backboneLearningRate");
  return RunOnPolicy(
      args,
      [=](Policy& policy) {
        const std::lock_guard<std::mutex> lock(head->mutex);
        QuantileHead& h = head->head;
        h.ClearGradients();
        double squares = 0;
        const Policy::StepLoss loss = [&](int64_t first, int64_t n, const float* states, float* d_states) {
          double part = 0;
          PRL_RETURN_IF_ERROR(h.AddGradients({n, states, state->rows.features.data() + first * h.features},
                                             state->rows.targets.data() + first, static_cast<double>(steps), &part,
                                             d_states));
          state->loss += part;
          return Ok();
        };
        const Status status = policy.StepGradients(*sequences, *ends, loss, &squares);
        if (status.code == Code::kNonFinite) return NotFinite(state.get());
        PRL_RETURN_IF_ERROR(status);
        if (state->step && policy.cancelled) return Error(Code::kAborted, "the update was aborted");
        state->norm = std::sqrt(squares + h.SumSquaresOfGradients());
        OptimizerParams backbone = state->optimizer;
        backbone.learning_rate = state->backbone_learning_rate;
        if (state->step && std::isfinite(state->norm) && h.StaysFinite(state->optimizer, state->norm)) {
          PRL_RETURN_IF_ERROR(policy.Step(backbone, state->norm, &state->applied));
        }
        if (state->applied) h.Step(state->optimizer, state->norm);
        return Ok();
      },
      [state](Napi::Env env) { return UpdateResult(env, *state); });
}

// { hidden, logProbs, tokens } of steps; `hidden` and `logProbs` (booleans) say which are wanted.
Napi::Value StepStates(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  struct State {
    Sequences sequences;
    std::vector<int32_t> ends;
    std::vector<float> hidden, logprob;
    int64_t tokens = 0;
  };
  const auto state = std::make_shared<State>();
  state->sequences = ParseSequences(args, policy->config);
  const int32_t scored = state->sequences.ScoredOffsets().back();
  state->ends = ReadStepEnds(args, scored);
  const bool hidden = args.Boolean("hidden"), logprob = args.Boolean("logProbs");
  if (hidden) state->hidden.resize(state->ends.size() * static_cast<size_t>(policy->config.hidden));
  if (logprob) state->logprob.resize(static_cast<size_t>(scored));
  return RunOnPolicy(
      args,
      [=](Policy& p) {
        return p.StepStates(state->sequences, state->ends, hidden ? state->hidden.data() : nullptr,
                            logprob ? state->logprob.data() : nullptr, &state->tokens);
      },
      [=](Napi::Env env) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("hidden", ToFloat32Array(env, state->hidden));
        result.Set("logProbs", ToFloat32Array(env, state->logprob));
        result.Set("tokens", static_cast<double>(state->tokens));
        return result;
      });
}

}  // namespace

void RegisterQuantileHead(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "policyStepStates", StepStates);
  Export(env, exports, "quantileHeadCreate", Create);
  Export(env, exports, "quantileHeadParameters", Parameters);
  Export(env, exports, "quantileHeadRead", Read);
  Export(env, exports, "quantileHeadWrite", Write);
  Export(env, exports, "quantileHeadScore", Score);
  Export(env, exports, "quantileHeadUpdate", Update);
  Export(env, exports, "quantileHeadFinetune", FinetuneUpdate);
}

}  // namespace prl
