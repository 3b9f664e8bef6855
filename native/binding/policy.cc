// The native policy: created, read, written, scored, trained.
#include "binding/policy.h"

#include <cmath>
#include <cstring>

#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

constexpr int64_t kMaxInt = (int64_t{1} << 31) - 1;

ModelConfig ParseConfig(const Args& args) {
  ModelConfig c{};
  c.vocab = args.Integer("vocab", 1, kMaxInt);
  c.hidden = args.Integer("hidden", 1, 1 << 20);
  c.intermediate = args.Integer("intermediate", 1, 1 << 22);
  c.layers = args.Integer("layers", 1, 4096);
  c.heads = args.Integer("heads", 1, 4096);
  c.kv_heads = args.Integer("kvHeads", 1, c.heads);
  c.head_dim = args.Integer("headDim", 2, 4096);
  c.max_positions = args.Integer("maxPositions", 1, kMaxInt);
  c.norm_eps = static_cast<float>(args.Number("normEps"));
  c.qkv_bias = args.Boolean("qkvBias");
  c.qk_norm = args.Boolean("qkNorm");
  c.tied = args.Boolean("tied");
  if (c.heads % c.kv_heads != 0) {
    Throw(args.env(), Code::kOutOfRange, "heads (%lld) must be a multiple of kvHeads (%lld)", (long long)c.heads,
          (long long)c.kv_heads);
  }
  if (c.head_dim % 2 != 0)
    Throw(args.env(), Code::kOutOfRange, "headDim must be even, not %lld", (long long)c.head_dim);
  const TensorArg inv_freq = args.Floats("invFreq", c.head_dim / 2);
  c.inv_freq.assign(inv_freq.f32(), inv_freq.f32() + inv_freq.elements);
  return c;
}

Napi::Value Create(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::string dtype = args.String("dtype");
  if (dtype != "float32" && dtype != "bfloat16")
    Throw(args.env(), Code::kOutOfRange, "dtype must be float32 or bfloat16");
  const ModelConfig config = ParseConfig(args);
  return WrapPolicy(args.env(), [&] {
    return std::make_shared<Policy>(config, dtype == "bfloat16" ? DType::kBFloat16 : DType::kFloat32);
  });
}

Napi::Value Init(const Napi::CallbackInfo& info) {
  const Args args(info);
  const uint64_t seed = static_cast<uint64_t>(args.Integer("seed", 0, (int64_t{1} << 53) - 1));
  IdlePolicyOf(args)->Initialize(seed);
  return args.env().Undefined();
}

Napi::Value Clone(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  return WrapPolicy(args.env(), [&] { return policy->Clone(); });
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
  return Napi::Boolean::New(args.env(), policy->Read(ArenaOf(args), p, first, out.elements, out.dtype, out.data));
}

Napi::Value Write(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  const Parameter& p = ParameterOf(args, *policy);
  const TensorArg data = args.Floats("data", p.size);
  bool written = false;
  ChangePolicy(args, [&](Policy& policy) { written = policy.Write(ArenaOf(args), p, data.f32()); });
  if (!written) Throw(args.env(), Code::kOutOfRange, "gradients cannot be written, nor masters of a float32 policy");
  return args.env().Undefined();
}

// Values of `name` in `arena` from byte `offset` of the open file `fd`, stored there as `dtype`.
Napi::Value Load(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  const Parameter* p = &ParameterOf(args, *policy);  // lives as long as the policy
  const Arena arena = ArenaOf(args);
  if (arena == Arena::kGradients || (arena == Arena::kMaster && policy->dtype != DType::kBFloat16)) {
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
  ChangePolicy(Args(info), [](Policy& policy) { policy.ResetOptimizer(); });
  return info.Env().Undefined();
}

Napi::Value LogProbs(const Napi::CallbackInfo& info) {
  const Args args(info);
  const std::shared_ptr<Policy> policy = IdlePolicyOf(args);
  struct State {
    Sequences sequences;
    std::vector<float> logprob, entropy;
    bool with_entropy;
  };
  auto state = std::make_shared<State>();
  state->sequences = ParseSequences(args, policy->config);
  state->with_entropy = args.Boolean("entropy");
  const size_t scored = static_cast<size_t>(state->sequences.ScoredOffsets().back());
  state->logprob.resize(scored);
  if (state->with_entropy) state->entropy.resize(scored);
  return RunOnPolicy(
      args,
      [state](Policy& p) {
        return p.LogProbs(state->sequences, state->logprob.data(),
                          state->with_entropy ? state->entropy.data() : nullptr);
      },
      [state](Napi::Env env) {
        Napi::Object result = Napi::Object::New(env);
        result.Set("logProbs", ToFloat32Array(env, state->logprob));
        if (state->with_entropy) result.Set("entropy", ToFloat32Array(env, state->entropy));
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
        PRL_RETURN_IF_ERROR(p.ComputeGradients(state->batch, &state->sums, &state->norm, &finite));
        if (state->step && p.cancelled) return Error(Code::kAborted, "the update was aborted");
        state->applied = state->step && finite && p.Step(state->optimizer, state->norm);
        return Ok();
      },
      [state](Napi::Env env) {
        Napi::Object result = SumsObject(env, state->sums);
        result.Set("gradNorm", state->norm);
        result.Set("applied", state->applied);
        return result;
      });
}

}  // namespace

void ReadIds(const Args& args, const ModelConfig& config, std::vector<int32_t>* ids, std::vector<int32_t>* cu_seqlens) {
  const TensorArg id = args.Tensor("ids", {DType::kInt32}), offsets = args.Tensor("cuSeqlens", {DType::kInt32});
  const int64_t count = CheckOffsets(args.env(), "cuSeqlens", offsets, id.elements);
  for (int64_t s = 0; s < count; ++s) {
    const int64_t begin = offsets.i32()[s], length = offsets.i32()[s + 1] - begin;
    if (length < 1) Throw(args.env(), Code::kOutOfRange, "sequence %lld is empty", (long long)s);
    if (length > config.max_positions) {
      Throw(args.env(), Code::kOutOfRange,
            "sequence %lld has %lld tokens, more than the policy's max_position_embeddings, %lld", (long long)s,
            (long long)length, (long long)config.max_positions);
    }
    for (int64_t i = begin; i < begin + length; ++i) {
      if (id.i32()[i] < 0 || id.i32()[i] >= config.vocab) {
        Throw(args.env(), Code::kOutOfRange, "token %lld of sequence %lld is %d, outside the vocabulary [0, %lld)",
              (long long)(i - begin), (long long)s, id.i32()[i], (long long)config.vocab);
      }
    }
  }
  ids->assign(id.i32(), id.i32() + id.elements);
  cu_seqlens->assign(offsets.i32(), offsets.i32() + count + 1);
}

Sequences ParseSequences(const Args& args, const ModelConfig& config) {
  Sequences s;
  ReadIds(args, config, &s.ids, &s.cu_seqlens);
  const int64_t count = static_cast<int64_t>(s.cu_seqlens.size()) - 1;
  const TensorArg start = args.Ints("start", count);
  s.start.assign(start.i32(), start.i32() + count);
  for (int64_t i = 0; i < count; ++i) {
    const int32_t length = s.cu_seqlens[i + 1] - s.cu_seqlens[i];
    if (s.start[i] < 1 || s.start[i] > length) {
      Throw(args.env(), Code::kOutOfRange, "start[%lld] = %d must be from 1 to %d, the length of the sequence",
            (long long)i, s.start[i], length);
    }
  }
  s.temperature = ReadTemperature(args);
  s.micro_batch_tokens = args.Integer("microBatchTokens", 1, kMaxInt);
  return s;
}

Napi::Value ParameterList(Napi::Env env, const std::vector<Parameter>& parameters) {
  Napi::Array list = Napi::Array::New(env);
  for (const Parameter& p : parameters) {
    Napi::Object entry = Napi::Object::New(env);
    Napi::Array shape = Napi::Array::New(env);
    for (uint32_t i = 0; i < p.shape.size(); ++i) shape.Set(i, static_cast<double>(p.shape[i]));
    entry.Set("name", p.name);
    entry.Set("shape", shape);
    list.Set(list.Length(), entry);
  }
  return list;
}

std::vector<float> CopyFloats(const TensorArg& tensor) {
  return tensor.present() ? std::vector<float>(tensor.f32(), tensor.f32() + tensor.elements) : std::vector<float>();
}

OptimizerParams ParseOptimizer(const Args& args) {
  OptimizerParams o{};
  o.learning_rate = args.Number("learningRate");
  o.weight_decay = args.Number("weightDecay");
  o.beta1 = args.Number("adamBeta1");
  o.beta2 = args.Number("adamBeta2");
  o.epsilon = args.Number("adamEpsilon");
  o.max_grad_norm = args.Has("maxGradNorm") ? args.Number("maxGradNorm") : INFINITY;
  for (double beta : {o.beta1, o.beta2}) {
    if (!(beta >= 0 && beta < 1))
      Throw(args.env(), Code::kOutOfRange, "adamBeta1 and adamBeta2 must be in [0, 1), not %g", beta);
  }
  return o;
}

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
