#include "kernels/importance_weight/importance_weight.h"

#include <cmath>

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  ImportanceWeightArgs kernel{};
  ReadOldLogProbs(args, &kernel);
  kernel.rollout_logprob = args.Floats("rolloutLogProbs", kernel.tokens).f32();
  kernel.mask = args.OptionalInts("mask", kernel.tokens).i32();
  kernel.level = static_cast<WeightLevel>(args.Integer("level", 0, 1));
  kernel.bound = static_cast<WeightBound>(args.Integer("bound", 0, 1));
  kernel.clip_min = args.Number("clipMin");
  kernel.clip_max = args.Has("clipMax") ? args.Number("clipMax") : INFINITY;
  kernel.out = args.OutputFloats("weights", kernel.tokens).f32();
  return RunKernel<ImportanceWeightArgs>(args, "importanceWeights", kernel, ImportanceWeightCpu, ImportanceWeightCuda,
                                         kernel.tokens);
}

}  // namespace

void RegisterImportanceWeight(Napi::Env env, Napi::Object exports) { Export(env, exports, "importanceWeight", Run); }

}  // namespace prl
