// The native policy: created, read, written, scored, trained.
#include "binding/policy.h"

#include <cmath>
#include <cstring>

#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Create(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::string dtype = args.String("dtype");
  if (dtype != "float32" && dtype != "bfloat16")
    Throw(args.env(), Code::kOutOfRange, "dtype must be float32 or bfloat16");
  const ModelConfig config = ParseConfig(args);
  return WrapPolicy(args.env(), [&](std::shared_ptr<Policy>* policy) {
    std::unique_ptr<Network> network;
    PRL_RETURN_IF_ERROR(MakeNetwork(config, dtype == "bfloat16" ? DType::kBFloat16 : DType::kFloat32, &network));
    *policy = std::make_shared<Policy>(std::move(network));
    return Ok();
  });
}

Napi::Value Init(const Napi::CallbackInfo& info) {
  const Args args(info);
  const uint64_t seed = static_cast<uint64_t>(args.Integer("seed", 0, (int64_t{1} << 53) - 1));
  ThrowIfError(args.env(), IdlePolicyOf(args)->Initialize(seed));
  return args.env().Undefined();
}

Napi::Value Clone(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  return WrapPolicy(args.env(), [&](std::shared_ptr<Policy>* made) {
    std::unique_ptr<Policy> copy;
    PRL_RETURN_IF_ERROR(policy->Clone(&copy));
    *made = std::move(copy);
    return Ok();
  });
}

Napi::Value Dispose(const Napi::CallbackInfo& info) {
  DisposePolicy(Args(info));
  return info.Env().Undefined();
}

Napi::Value Cancel(const Napi::CallbackInfo& info) {
  PolicyOf(Args(info)).policy->cancelled = true;
  return info.Env().Undefined();
}

// [{ name, shape }] of all parameters of a policy; or of a config, whose policy need not be made for it.
Napi::Value Parameters(const Napi::CallbackInfo& info) {
  const Args args(info);
  if (!args.Has("vocab")) return ParameterList(args.env(), PolicyOf(args).policy->layout.parameters);
  return ParameterList(args.env(), Layout(ParseConfig(args)).parameters);
}

const Parameter& ParameterOf(const Args& args, const Policy& policy) {
  const std::string name = args.String("name");
  const Parameter* parameter = policy.layout.Find(name);
  if (!parameter) Throw(args.env(), Code::kOutOfRange, "the policy has no parameter '%.150s'", name.c_str());
  return *parameter;
}

Arena ArenaOf(const Args& args) { return static_cast<Arena>(args.Integer("arena", 0, 4)); }

// Copies values of the tensor `name` of `arena` (policy.h, Arena), from `first` on, to `out`; returns false, `out`
// untouched, when its arena has not been made.
Napi::Value Read(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  const Parameter& p = ParameterOf(args, *policy);
  const TensorArg out = args.Tensor("out");
  const int64_t first = args.Integer("first", 0, p.size);
  if (out.elements > p.size - first) {
    Throw(args.env(), Code::kOutOfRange, "'%s' has %lld elements from %lld on, not %lld", p.name.c_str(),
          (long long)(p.size - first), (long long)first, (long long)out.elements);
  }
  const Arena arena = ArenaOf(args);
  const bool there = policy->Has(arena) && (arena != Arena::kMaster || out.dtype == DType::kFloat32);
  if (there) ThrowIfError(args.env(), policy->Read(arena, p, first, out.elements, out.dtype, out.data));
  return Napi::Boolean::New(args.env(), there);
}

Napi::Value Write(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  const Parameter& p = ParameterOf(args, *policy);
  const TensorArg data = args.Floats("data", p.size);
  const Arena arena = ArenaOf(args);
  if (!policy->Writable(arena)) {
    Throw(args.env(), Code::kOutOfRange, "gradients cannot be written, nor masters of a float32 policy");
  }
  ChangePolicy(args, [&](Policy& policy) { return policy.Write(arena, p, data.f32()); });
  return args.env().Undefined();
}

// Values of `name` in `arena` from byte `offset` of the open file `fd`, stored there as `dtype`.
Napi::Value Load(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  const Parameter* p = &ParameterOf(args, *policy);  // lives as long as the policy
  const Arena arena = ArenaOf(args);
  if (!policy->Writable(arena)) {
    Throw(args.env(), Code::kOutOfRange, "gradients cannot be loaded, nor masters of a float32 policy");
  }
  const int fd = static_cast<int>(args.Integer("fd", 0, INT32_MAX));
  const int64_t offset = args.Integer("offset", 0, (int64_t{1} << 53) - 1);
  const std::string dtype = args.String("dtype");
  const DType type = dtype == "F32" ? DType::kFloat32 : dtype == "BF16" ? DType::kBFloat16 : DType::kFloat16;
  if (type == DType::kFloat16 && dtype != "F16") Throw(args.env(), Code::kOutOfRange, "dtype must be F32, BF16 or F16");
  return RunOnPolicy(
      args, [=](Policy& policy) { return policy.Load(arena, *p, fd, offset, type); },
      [](Napi::Env env) { return env.Undefined(); });
}

Napi::Value Steps(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  if (args.Has("steps")) policy->steps = args.Integer("steps", 0, (int64_t{1} << 53) - 1);
  return Napi::Number::New(args.env(), static_cast<double>(policy->steps));
}

Napi::Value ResetOptimizer(const Napi::CallbackInfo& info) {
  ChangePolicy(Args(info), [](Policy& policy) {
    policy.ResetOptimizer();
    return Ok();
  });
  return info.Env().Undefined();
}

Napi::Value LogProbs(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  struct State {
    Sequences sequences;
    std::vector<float> logprob, entropy;
    std::vector<int32_t> top1;
  };
  auto state = std::make_shared<State>();
  state->sequences = ParseSequences(args, policy->config);
  const size_t scored = static_cast<size_t>(state->sequences.ScoredOffsets().back());
  state->logprob.resize(scored);
  const bool with_entropy = args.Boolean("entropy"), with_top1 = args.Has("top1") && args.Boolean("top1");
  if (with_entropy) state->entropy.resize(scored);
  if (with_top1) state->top1.resize(scored);
  return RunOnPolicy(
      args,
      [=](Policy& p) {
        return p.LogProbs(state->sequences, state->logprob.data(), with_entropy ? state->entropy.data() : nullptr,
                          with_top1 ? state->top1.data() : nullptr);
      },
      [=](Napi::Env env) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("logProbs", ToFloat32Array(env, state->logprob));
        if (with_entropy) result.Set("entropy", ToFloat32Array(env, state->entropy));
        if (with_top1) result.Set("top1", ToInt32Array(env, state->top1));
        return result;
      });
}

Napi::Value Logits(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  auto ids = std::make_shared<std::vector<int32_t>>(), offsets = std::make_shared<std::vector<int32_t>>();
  ReadIds(args, policy->config, ids.get(), offsets.get());
  if (offsets->size() != 2) Throw(args.env(), Code::kOutOfRange, "logits takes one sequence");
  auto logits = std::make_shared<std::vector<float>>();
  return RunOnPolicy(
      args,
      [ids, logits](Policy& p) {
        logits->resize(ids->size() * static_cast<size_t>(p.config.vocab));
        return p.Logits(*ids, logits->data());
      },
      [logits](Napi::Env env) { return ToFloat32Array(env, *logits); });
}

TrainingBatch ParseBatch(const Args& args, const ModelConfig& config) {
  TrainingBatch batch;
  batch.sequences = ParseSequences(args, config);
  batch.recompute = args.Boolean("gradientCheckpointing");
  const int64_t tokens = batch.sequences.ScoredOffsets().back();
  batch.advantages_per_token = args.Boolean("advantagesPerToken");
  batch.advantages =
      CopyFloats(args.Floats("advantages", batch.advantages_per_token ? tokens : batch.sequences.count()));
  batch.old_logprob = CopyFloats(args.OptionalFloats("oldLogProbs", tokens));
  batch.ref_logprob = CopyFloats(args.OptionalFloats("refLogProbs", tokens));
  batch.importance_weight = CopyFloats(args.OptionalFloats("importanceWeights", tokens));
  batch.sampling_logprob = CopyFloats(args.OptionalFloats("rolloutLogProbs", tokens));
  const TensorArg mask = args.OptionalInts("mask", tokens);
  if (mask.present()) batch.mask.assign(mask.i32(), mask.i32() + tokens);
  batch.loss = ParseLossParams(args);
  return batch;
}

// Gradients of a batch; with `step` an optimizer step on top, unless something was not finite.
Napi::Value Update(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  struct State {
    TrainingBatch batch;
    OptimizerParams optimizer{};
    bool step = false, applied = false;
    LossSums sums{};
    int64_t top1 = 0;
    double norm = 0;
  };
  auto state = std::make_shared<State>();
  state->batch = ParseBatch(args, policy->config);
  state->step = args.Boolean("step");
  if (state->step) state->optimizer = ParseOptimizer(args);
  return RunOnPolicy(
      args,
      [state](Policy& p) {
        bool finite = false;
        PRL_RETURN_IF_ERROR(p.ComputeGradients(state->batch, &state->sums, &state->top1, &state->norm, &finite));
        if (state->step && p.cancelled) return Error(Code::kAborted, "the update was aborted");
        return state->step && finite ? p.Step(state->optimizer, state->norm, &state->applied) : Ok();
      },
      [state](Napi::Env env) {
        Napi::Object result = SumsObject(env, state->sums);
        result.Set("top1", static_cast<double>(state->top1));
        result.Set("gradNorm", state->norm);
        result.Set("applied", state->applied);
        return result;
      });
}

}  // namespace

void RegisterPolicy(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "policyCreate", Create);
  Export(env, exports, "policyInit", Init);
  Export(env, exports, "policyClone", Clone);
  Export(env, exports, "policyDispose", Dispose);
  Export(env, exports, "policyCancel", Cancel);
  Export(env, exports, "policyParameters", Parameters);
  Export(env, exports, "policyRead", Read);
  Export(env, exports, "policyWrite", Write);
  Export(env, exports, "policyLoad", Load);
  Export(env, exports, "policySteps", Steps);
  Export(env, exports, "policyResetOptimizer", ResetOptimizer);
  Export(env, exports, "policyLogProbs", LogProbs);
  Export(env, exports, "policyLogits", Logits);
  Export(env, exports, "policyUpdate", Update);
}

}  // namespace prl
