#include "kernels/policy_loss/policy_loss.h"

#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg logits = args.Tensor("logits");
  if (logits.shape.size() != 2) Throw(args.env(), Code::kOutOfRange, "logits must have the shape [tokens, vocab]");
  const int64_t tokens = logits.shape[0];
  LossSums sums;
  PolicyLossArgs kernel{};
  TokenLogprobArgs& rows = kernel.logits;
  rows.rows = tokens;
  rows.vocab = rows.stride = logits.shape[1];
  rows.dtype = logits.dtype;
  rows.logits = logits.data;
  rows.temperature = ReadTemperature(args);
  rows.targets = args.Ints("targets", tokens).i32();
  rows.logprob = args.OutputFloats("logProbs", tokens).f32();
  rows.entropy = args.OutputFloats("entropy", tokens).f32();
  kernel.batch = ParseLossBatch(args, tokens);
  kernel.params = ParseLossParams(args);
  if (args.Has("dLogits")) {
    const TensorArg d_logits = args.Output("dLogits", {logits.dtype}, "logits");
    if (d_logits.shape != logits.shape) Throw(args.env(), Code::kOutOfRange, "dLogits must have the shape of logits");
    kernel.d_logits = d_logits.data;
  }
  if (args.on_gpu()) {
    const int64_t floats = PolicyLossCudaWorkspaceFloats(tokens, kernel.batch.sequences);
    return PendingSums(args.env(), RunOnCuda(args.env(), "policyLossFromLogits", {rows.vocab, tokens},
                                             static_cast<size_t>(floats) * sizeof(float), [&](const CudaCall& call) {
                                               kernel.workspace = static_cast<float*>(call.workspace);
                                               return PolicyLossCuda(kernel, call);
                                             }));
  }
  const auto workspace = Scratch(PolicyLossWorkspaceFloats(tokens, kernel.batch.sequences));
  kernel.workspace = workspace.get();
  kernel.sums = &sums;
  ThrowIfError(args.env(), PolicyLossCpu(kernel));
  return SumsObject(args.env(), sums);
}

}  // namespace

void RegisterPolicyLoss(Napi::Env env, Napi::Object exports) { Export(env, exports, "policyLoss", Run); }

}  // namespace prl
