#include "kernels/importance_weight/importance_weight.h"

#include <cmath>

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const PackedFloats old_logprob = ReadPacked(args, "oldLogProbs", "cuSeqlens");
  ImportanceWeightArgs kernel{};
  kernel.tokens = old_logprob.elements;
  kernel.sequences = old_logprob.pieces;
  kernel.cu_seqlens = old_logprob.offsets;
  kernel.old_logprob = old_logprob.values.f32();
  kernel.rollout_logprob = args.Floats("rolloutLogProbs", kernel.tokens).f32();
  kernel.mask = args.OptionalInts("mask", kernel.tokens).i32();
  kernel.level = static_cast<WeightLevel>(args.Integer("level", 0, 1));
  kernel.bound = static_cast<WeightBound>(args.Integer("bound", 0, 1));
  kernel.clip_min = args.Number("clipMin");
  kernel.clip_max = args.Has("clipMax") ? args.Number("clipMax") : INFINITY;
  kernel.out = args.OutputFloats("weights", kernel.tokens).f32();
  if (args.on_gpu()) {
    RunOnCuda(args.env(), "importanceWeights", kernel.tokens, 0,
              [&](const CudaCall& call) { return ImportanceWeightCuda(kernel, call); });
  } else {
    ThrowIfError(args.env(), ImportanceWeightCpu(kernel));
  }
  return args.env().Undefined();
}

}  // namespace

void RegisterImportanceWeight(Napi::Env env, Napi::Object exports) { Export(env, exports, "importanceWeight", Run); }

}  // namespace prl
