#include "kernels/step_reward/step_reward.h"

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  StepRewardArgs kernel{};
  ReadOldLogProbs(args, &kernel);
  const TensorArg steps = args.OptionalTensor("cuSteps", {DType::kInt32});
  if (steps.present()) {
    kernel.steps = CheckOffsets(args.env(), "cuSteps", steps, kernel.tokens);
    kernel.cu_steps = steps.i32();
  }
  kernel.ref_logprob = args.Floats("refLogProbs", kernel.tokens).f32();
  kernel.outcome = args.Floats("outcomeAdvantages", kernel.sequences).f32();
  kernel.generator = static_cast<Generator>(args.Integer("generator", 0, 3));
  kernel.scale = args.Number("scale");
  kernel.inclusive = args.Boolean("inclusive");
  kernel.baseline = args.Boolean("baseline");
  kernel.out = args.OutputFloats("out", kernel.tokens).f32();
  const char* const name = kernel.cu_steps ? "prlAdvantages" : "frpoAdvantages";
  return RunKernel<StepRewardArgs>(args, name, kernel, StepRewardCpu, StepRewardCuda, kernel.tokens,
                                   StepRewardCudaWorkspace(kernel));
}

}  // namespace

void RegisterStepReward(Napi::Env env, Napi::Object exports) { Export(env, exports, "stepReward", Run); }

}  // namespace prl
