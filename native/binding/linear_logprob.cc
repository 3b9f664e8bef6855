#include "kernels/linear_logprob/linear_logprob.h"

#include "binding/cuda.h"
#include "binding/loss_args.h"
#include "binding/register.h"

namespace prl {
namespace {

// As many tokens as have their logits in `workspaceBytes`.
int64_t ChunkOf(const Args& args, int64_t vocab, DType dtype) {
  const int64_t bytes = args.Integer("workspaceBytes", 1, int64_t{1} << 46);
  const int64_t row = args.on_gpu() ? LinearCudaRowBytes(vocab, dtype) : vocab * static_cast<int64_t>(SizeOf(dtype));
  if (bytes < row) {
    Throw(args.env(), Code::kOutOfRange,
          "workspaceBytes must have room for the logits of one token, %lld bytes; it is %lld", (long long)row,
          (long long)bytes);
  }
  return row ? bytes / row : bytes;
}

LinearLogprobArgs Parse(const Args& args) {
  const TensorArg hidden = args.Tensor("hidden"), head = args.Tensor("head", {hidden.dtype});
  if (!args.on_gpu() && hidden.dtype != DType::kFloat32) {
    Throw(args.env(), Code::kInvalidArgument, "hidden must be float32 on the CPU, not %s", NameOf(hidden.dtype));
  }
  if (hidden.shape.size() != 2) Throw(args.env(), Code::kOutOfRange, "hidden must have the shape [tokens, width]");
  if (head.shape.size() != 2 || head.shape[1] != hidden.shape[1]) {
    Throw(args.env(), Code::kOutOfRange, "head must have the shape [vocab, %lld], the width of hidden",
          (long long)hidden.shape[1]);
  }
  LinearLogprobArgs linear{};
  linear.tokens = hidden.shape[0];
  linear.width = hidden.shape[1];
  linear.vocab = head.shape[0];
  linear.dtype = hidden.dtype;
  linear.hidden = hidden.data;
  linear.head = head.data;
  linear.temperature = ReadTemperature(args);
  linear.targets = args.Ints("targets", linear.tokens).i32();
  linear.logprob = args.OutputFloats("logProbs", linear.tokens).f32();
  linear.entropy = args.OutputFloats("entropy", linear.tokens).f32();
  linear.chunk = ChunkOf(args, linear.vocab, linear.dtype);
  return linear;
}

std::unique_ptr<float[]> Workspace(const LinearLogprobArgs& a, int64_t sequences) {
  return Scratch(LinearWorkspaceFloats(a.tokens, sequences, a.width, a.vocab, a.chunk));
}

Napi::Value Logprob(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  LinearLogprobArgs kernel = Parse(args);
  kernel.mask = args.OptionalInts("mask", kernel.tokens).i32();
  if (args.on_gpu()) {
    RunOnCuda(args.env(), "linearLogProbs", kernel.vocab, static_cast<size_t>(LayOutLinear(kernel, 0, false).bytes),
              [&](const CudaCall& call) { return LinearLogprobCuda(kernel, call); });
    return args.env().Undefined();
  }
  const auto workspace = Workspace(kernel, 0);
  kernel.workspace = workspace.get();
  ThrowIfError(args.env(), LinearLogprobCpu(kernel));
  return args.env().Undefined();
}

Napi::Value PolicyLoss(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  LinearPolicyLossArgs kernel{};
  kernel.linear = Parse(args);
  const LinearLogprobArgs& linear = kernel.linear;
  kernel.batch = ParseLossBatch(args, linear.tokens);
  kernel.params = ParseLossParams(args);
  const TensorArg d_hidden = args.Output("dHidden", {linear.dtype});
  if (d_hidden.elements != linear.tokens * linear.width)
    Throw(args.env(), Code::kOutOfRange, "dHidden must have the shape of hidden");
  kernel.d_hidden = d_hidden.data;
  kernel.d_head = args.OutputFloats("dHead", linear.vocab * linear.width).f32();
  kernel.add_to_head = args.Boolean("accumulate");
  const int64_t sequences = kernel.batch.sequences;
  if (args.on_gpu()) {
    const LinearCudaLayout layout = LayOutLinear(linear, sequences, kernel.batch.mask != nullptr);
    return PendingSums(args.env(), RunOnCuda(args.env(), "linearPolicyLoss", {linear.vocab, linear.tokens},
                                             static_cast<size_t>(layout.bytes),
                                             [&](const CudaCall& call) { return LinearPolicyLossCuda(kernel, call); }));
  }
  LossSums sums;
  kernel.sums = &sums;
  const auto workspace = Workspace(linear, sequences);
  kernel.linear.workspace = workspace.get();
  ThrowIfError(args.env(), LinearPolicyLossCpu(kernel));
  return SumsObject(args.env(), sums);
}

}  // namespace

void RegisterLinearLogprob(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "linearLogprob", Logprob);
  Export(env, exports, "linearPolicyLoss", PolicyLoss);
}

}  // namespace prl
