#include "kernels/token_logprob/token_logprob.h"

#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

TokenLogprobArgs Parse(const Args& args, const TensorArg& logits) {
  if (logits.shape.size() != 2) Throw(args.env(), Code::kOutOfRange, "logits must have the shape [tokens, vocab]");
  TokenLogprobArgs kernel{};
  kernel.rows = logits.shape[0];
  kernel.vocab = kernel.stride = logits.shape[1];
  kernel.dtype = logits.dtype;
  kernel.logits = logits.data;
  kernel.temperature = ReadTemperature(args);
  kernel.targets = args.Ints("targets", kernel.rows).i32();
  kernel.mask = args.OptionalInts("mask", kernel.rows).i32();
  return kernel;
}

Napi::Value Forward(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg logits = args.Tensor("logits");
  TokenLogprobArgs kernel = Parse(args, logits);
  kernel.logprob = args.OutputFloats("logProbs", kernel.rows).f32();
  kernel.entropy = args.OptionalOutputFloats("entropy", kernel.rows).f32();
  kernel.lse = args.OptionalOutputFloats("logSumExp", kernel.rows).f32();
  kernel.top1 = static_cast<int32_t*>(args.OptionalOutputInts("top1", kernel.rows).data);
  return RunKernel<TokenLogprobArgs>(args, "tokenLogProbs", kernel, TokenLogprobCpu, TokenLogprobCuda, kernel.vocab);
}

Napi::Value Backward(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg logits = args.Tensor("logits");
  TokenLogprobBackwardArgs kernel{Parse(args, logits), nullptr, nullptr, nullptr};
  kernel.d_logprob = args.Floats("dLogProbs", kernel.forward.rows).f32();
  kernel.d_entropy = args.OptionalFloats("dEntropy", kernel.forward.rows).f32();
  const TensorArg d_logits = args.Output("dLogits", {logits.dtype}, "logits");
  if (d_logits.shape != logits.shape) Throw(args.env(), Code::kOutOfRange, "dLogits must have the shape of logits");
  kernel.d_logits = d_logits.data;
  return RunKernel<TokenLogprobBackwardArgs>(args, "tokenLogProbs' gradient", kernel, TokenLogprobBackwardCpu,
                                             TokenLogprobBackwardCuda, kernel.forward.vocab);
}

}  // namespace

void RegisterTokenLogprob(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "tokenLogprob", Forward);
  Export(env, exports, "tokenLogprobBackward", Backward);
}

}  // namespace prl
