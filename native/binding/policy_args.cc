// Arguments that the functions of a policy share.
#include <cmath>

#include "binding/loss_args.h"
#include "binding/policy.h"

namespace prl {
namespace {

constexpr int64_t kMaxInt = (int64_t{1} << 31) - 1;

}  // namespace

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
  c.o_bias = args.Boolean("oBias");
  c.mlp_bias = args.Boolean("mlpBias");
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
  c.rope_factor = static_cast<float>(args.Number("ropeFactor"));
  return c;
}

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

}  // namespace prl
