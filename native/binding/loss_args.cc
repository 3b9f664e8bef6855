#include "binding/loss_args.h"

#include <cmath>

namespace prl {

namespace {

void Read(const Args& args, const char* name, double* value) {
  const Napi::Value given = args.Value(name);
  *value = given.IsNumber() ? given.As<Napi::Number>().DoubleValue() : NAN;
  if (std::isnan(*value)) Throw(args.env(), Code::kInvalidArgument, "%s must be a number", name);
}

void Read(const Args& args, const char* name, bool* value) { *value = args.Boolean(name); }

template <typename Choice>
void Read(const Args& args, const char* name, Choice* value) {
  *value = static_cast<Choice>(args.Integer(name, 0, static_cast<int64_t>(Choice::kLast)));
}

}  // namespace

LossParams ParseLossParams(const Args& args) {
  LossParams params;
#define PRL_READ(type, member, name) Read(args, name, &params.member);
  PRL_LOSS_PARAMS(PRL_READ)
#undef PRL_READ
  return params;
}

LossBatch ParseLossBatch(const Args& args, int64_t tokens) {
  LossBatch batch{};
  const TensorArg offsets = args.Tensor("cuSeqlens", {DType::kInt32});
  batch.tokens = tokens;
  batch.sequences = CheckOffsets(args.env(), "cuSeqlens", offsets, tokens);
  batch.cu_seqlens = offsets.i32();
  batch.advantages_per_token = args.Boolean("advantagesPerToken");
  batch.advantages = args.Floats("advantages", batch.advantages_per_token ? tokens : batch.sequences).f32();
  batch.old_logprob = args.OptionalFloats("oldLogProbs", tokens).f32();
  batch.ref_logprob = args.OptionalFloats("refLogProbs", tokens).f32();
  batch.importance_weight = args.OptionalFloats("importanceWeights", tokens).f32();
  batch.sampling_logprob = args.OptionalFloats("rolloutLogProbs", tokens).f32();
  batch.mask = args.OptionalInts("mask", tokens).i32();
  return batch;
}

float ReadTemperature(const Args& args) {
  const double value = args.Number("temperature");
  const float temperature = static_cast<float>(value);
  if (!(value > 0) || !std::isfinite(temperature) || !std::isfinite(1.0f / temperature)) {
    Throw(args.env(), Code::kOutOfRange, "temperature must be above 0, and it and its inverse float32 numbers, not %g",
          value);
  }
  return temperature;
}

Napi::Object SumsObject(Napi::Env env, const LossSums& sums) {
  Napi::Object result = Napi::Object::New(env);
  const struct {
    const char* name;
    double value;
  } fields[] = {{"loss", sums.loss},
                {"tokens", sums.tokens},
                {"sequences", sums.sequences},
                {"entropy", sums.entropy},
                {"kl", sums.kl},
                {"oldKlK1", sums.old_kl_k1},
                {"oldKlK3", sums.old_kl_k3},
                {"ratio", sums.ratio},
                {"ratioSquared", sums.ratio_squared},
                {"ratioMax", sums.ratio_max},
                {"ratioMin", sums.ratio_min},
                {"ratioCount", sums.ratio_count},
                {"clipLow", sums.clip_low},
                {"clipHigh", sums.clip_high},
                {"phi", sums.phi},
                {"clipCount", sums.clip_count}};
  for (const auto& field : fields) result.Set(field.name, field.value);
  return result;
}

Napi::Object PendingSums(Napi::Env env, CudaTicketPtr ticket) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("ticket", BoxTicket(env, std::move(ticket)));
  return result;
}

std::unique_ptr<float[]> Scratch(int64_t floats) {
  return std::unique_ptr<float[]>(new float[static_cast<size_t>(floats)]);
}

}  // namespace prl
