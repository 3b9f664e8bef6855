#include "binding/loss_args.h"

#include <cmath>

namespace prl {

LossParams ParseLossParams(const Args& args) {
  LossParams p{};
  p.surrogate = static_cast<Surrogate>(args.Integer("surrogate", 0, 4));
  p.ratio_level = static_cast<RatioLevel>(args.Integer("ratioLevel", 0, 1));
  p.aggregation = static_cast<Aggregation>(args.Integer("aggregation", 0, 3));
  p.kl_estimator = static_cast<KlEstimator>(args.Integer("klEstimator", 0, 2));
  p.epsilon_low = args.Number("epsilonLow");
  p.epsilon_high = args.Number("epsilonHigh");
  p.delta = args.Has("delta") ? args.Number("delta") : INFINITY;
  p.temperature = {args.Number("sapoTemperaturePos"), args.Number("sapoTemperatureNeg")};
  p.vespo_k = {args.Number("vespoKPos"), args.Number("vespoKNeg")};
  p.vespo_lambda = {args.Number("vespoLambdaPos"), args.Number("vespoLambdaNeg")};
  p.off_policy_threshold = args.Has("offPolicyMaskThreshold") ? args.Number("offPolicyMaskThreshold") : INFINITY;
  p.min_entropy = args.Has("entropyThreshold") ? args.Number("entropyThreshold") : -INFINITY;
  p.beta = args.Number("beta");
  p.kl_ratio_correction = args.Boolean("klRatioCorrection");
  p.entropy_coef = args.Number("entropyCoef");
  p.norm_tokens = args.Number("normTokens");
  p.norm_sequences = args.Number("normSequences");
  p.max_length = args.Number("maxLength");
  return p;
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
    Throw(args.env(), Code::kOutOfRange, "temperature must be above 0, and it and its inverse float32 numbers, not %g", value);
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

std::unique_ptr<float[]> Scratch(int64_t floats) { return std::unique_ptr<float[]>(new float[static_cast<size_t>(floats)]); }

}  // namespace prl
