#include "kernels/linear_logprob/linear_logprob.h"

#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

std::unique_ptr<float[]> Parse(const Args& args, int64_t sequences, LinearLogprobArgs* linear) {
  const TensorArg hidden = args.Tensor("hidden", {DType::kFloat32}), head = args.Tensor("head", {DType::kFloat32});
  if (hidden.shape.size() != 2) Throw(args.env(), Code::kOutOfRange, "hidden must have the shape [tokens, width]");
  if (head.shape.size() != 2 || head.shape[1] != hidden.shape[1]) {
    Throw(args.env(), Code::kOutOfRange, "head must have the shape [vocab, %lld], the width of hidden", (long long)hidden.shape[1]);
  }
  const double temperature = args.Number("temperature");
  if (!(temperature > 0)) Throw(args.env(), Code::kOutOfRange, "temperature must be above 0, not %g", temperature);
  linear->tokens = hidden.shape[0];
  linear->width = hidden.shape[1];
  linear->vocab = head.shape[0];
  linear->hidden = hidden.f32();
  linear->head = head.f32();
  linear->temperature = static_cast<float>(temperature);
  linear->targets = args.Ints("targets", linear->tokens).i32();
  linear->logprob = args.Floats("logProbs", linear->tokens).f32();
  linear->entropy = args.Floats("entropy", linear->tokens).f32();
  const int64_t chunk = args.Integer("chunk", 1, int64_t{1} << 31);
  linear->workspace_floats = LinearWorkspaceFloats(linear->tokens, sequences, linear->width, linear->vocab, chunk);
  auto workspace = Scratch(linear->workspace_floats);
  linear->workspace = workspace.get();
  return workspace;
}

Napi::Value Logprob(const Napi::CallbackInfo& info) {
  const Args args(info);
  LinearLogprobArgs kernel{};
  const auto workspace = Parse(args, 0, &kernel);
  ThrowIfError(args.env(), LinearLogprobCpu(kernel));
  return args.env().Undefined();
}

Napi::Value PolicyLoss(const Napi::CallbackInfo& info) {
  const Args args(info);
  LossSums sums;
  LinearPolicyLossArgs kernel{};
  const TensorArg hidden = args.Tensor("hidden", {DType::kFloat32}), head = args.Tensor("head", {DType::kFloat32});
  kernel.batch = ParseLossBatch(args, hidden.shape[0]);
  kernel.params = ParseLossParams(args);
  const auto workspace = Parse(args, kernel.batch.sequences, &kernel.linear);
  kernel.d_hidden = args.Floats("dHidden", hidden.elements).f32();
  kernel.d_head = args.Floats("dHead", head.elements).f32();
  kernel.sums = &sums;
  ThrowIfError(args.env(), LinearPolicyLossCpu(kernel));
  return SumsObject(args.env(), sums);
}

}  // namespace

void RegisterLinearLogprob(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "linearLogprob", Logprob);
  Export(env, exports, "linearPolicyLoss", PolicyLoss);
}

}  // namespace prl
