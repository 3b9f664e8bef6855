#include "kernels/step_reward/step_reward.h"

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const PackedFloats old_logprob = ReadPacked(args, "oldLogProbs", "cuSeqlens");
  const TensorArg steps = args.OptionalTensor("cuSteps", {DType::kInt32});
  StepRewardArgs kernel{};
  kernel.tokens = old_logprob.elements;
  kernel.sequences = old_logprob.pieces;
  kernel.cu_seqlens = old_logprob.offsets;
  if (steps.present()) {
    kernel.steps = CheckOffsets(args.env(), "cuSteps", steps, kernel.tokens);
    kernel.cu_steps = steps.i32();
  }
  kernel.old_logprob = old_logprob.values.f32();
  kernel.ref_logprob = args.Floats("refLogProbs", kernel.tokens).f32();
  kernel.outcome = args.Floats("outcomeAdvantages", kernel.sequences).f32();
  kernel.generator = static_cast<Generator>(args.Integer("generator", 0, 3));
  kernel.scale = args.Number("scale");
  kernel.inclusive = args.Boolean("inclusive");
  kernel.baseline = args.Boolean("baseline");
  kernel.out = args.OutputFloats("out", kernel.tokens).f32();
  if (args.on_gpu()) {
    RunOnCuda(args.env(), kernel.cu_steps ? "prlAdvantages" : "frpoAdvantages", kernel.tokens,
              StepRewardCudaWorkspace(kernel), [&](const CudaCall& call) { return StepRewardCuda(kernel, call); });
  } else {
    ThrowIfError(args.env(), StepRewardCpu(kernel));
  }
  return args.env().Undefined();
}

}  // namespace

void RegisterStepReward(Napi::Env env, Napi::Object exports) { Export(env, exports, "stepReward", Run); }

}  // namespace prl
