#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info);
  const TensorArg logprob = args.Tensor("logProbs", {DType::kFloat32});
  const int64_t tokens = logprob.elements;
  LossSums sums;
  ClippedLossArgs kernel{};
  kernel.batch = ParseLossBatch(args, tokens);
  kernel.params = ParseLossParams(args);
  kernel.logprob = logprob.f32();
  kernel.entropy = args.OptionalFloats("entropy", tokens).f32();
  kernel.d_logprob = args.OptionalFloats("dLogProbs", tokens).f32();
  kernel.d_entropy = args.OptionalFloats("dEntropy", tokens).f32();
  const auto workspace = Scratch(LossWorkspaceFloats(kernel.batch.sequences));
  kernel.workspace = workspace.get();
  kernel.sums = &sums;
  ThrowIfError(args.env(), ClippedLossCpu(kernel));
  return SumsObject(args.env(), sums);
}

}  // namespace

void RegisterClippedLoss(Napi::Env env, Napi::Object exports) { Export(env, exports, "clippedLoss", Run); }

}  // namespace prl
