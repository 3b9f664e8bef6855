#include <cstring>

#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg logprob = args.Tensor("logProbs", {DType::kFloat32});
  const int64_t tokens = logprob.elements;
  LossSums sums;
  ClippedLossArgs kernel{};
  kernel.batch = ParseLossBatch(args, tokens);
  kernel.params = ParseLossParams(args);
  kernel.logprob = logprob.f32();
  kernel.entropy = args.OptionalFloats("entropy", tokens).f32();
  kernel.d_logprob = args.OutputFloats("dLogProbs", tokens).f32();
  kernel.d_entropy = args.OptionalOutputFloats("dEntropy", tokens).f32();
  if (args.on_gpu()) {
    const int64_t floats = LossCudaWorkspaceFloats(tokens, kernel.batch.sequences);
    return PendingSums(args.env(), RunOnCuda(args.env(), "policyLoss", tokens,
                                             static_cast<size_t>(floats) * sizeof(float), [&](const CudaCall& call) {
                                               kernel.workspace = static_cast<float*>(call.workspace);
                                               return ClippedLossCuda(kernel, call);
                                             }));
  }
  const auto workspace = Scratch(LossWorkspaceFloats(kernel.batch.sequences));
  kernel.workspace = workspace.get();
  kernel.sums = &sums;
  ThrowIfError(args.env(), ClippedLossCpu(kernel));
  return SumsObject(args.env(), sums);
}

// The sums of a call that was queued: waits for it, throws what it found wrong.
Napi::Value Sums(const Napi::CallbackInfo& info) {
  const Args args(info);
  LossSums sums;
  std::memcpy(&sums, ValuesOf(args, "ticket"), sizeof sums);
  return SumsObject(args.env(), sums);
}

}  // namespace

void RegisterClippedLoss(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "clippedLoss", Run);
  Export(env, exports, "lossSums", Sums);
}

}  // namespace prl
