#include "kernels/group_center/group_center.h"

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

Napi::Value GroupAdvantage(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg rewards = args.Tensor("rewards", {DType::kFloat32});
  GroupAdvantageArgs kernel{};
  kernel.responses = rewards.elements;
  kernel.groups = args.Integer("groups", 0, rewards.elements);
  kernel.rewards = rewards.f32();
  kernel.group = args.Ints("group", rewards.elements).i32();
  kernel.centering = static_cast<Centering>(args.Integer("centering", 0, 2));
  kernel.population = args.Boolean("population");
  kernel.batch_deviation = args.Boolean("batchDeviation");
  kernel.epsilon = args.Number("epsilon");
  kernel.singleton_raw = args.Boolean("singletonRaw");
  kernel.out = args.OutputFloats("advantages", rewards.elements).f32();
  std::vector<double> workspace(args.on_gpu() ? 0 : static_cast<size_t>(3 * kernel.groups));
  kernel.workspace = workspace.data();
  return RunKernel<GroupAdvantageArgs>(args, "groupAdvantages", kernel, GroupAdvantageCpu, GroupAdvantageCuda, 0);
}

Napi::Value OutcomeCenter(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg scores = args.Tensor("scores", {DType::kFloat32});
  OutcomeCenterArgs kernel{};
  kernel.responses = scores.elements;
  kernel.groups = args.Integer("groups", 0, scores.elements);
  kernel.scores = scores.f32();
  kernel.correct = args.Ints("correct", scores.elements).i32();
  kernel.group = args.Ints("group", scores.elements).i32();
  kernel.center_correct = args.Boolean("centerCorrect");
  kernel.out = args.OutputFloats("centered", scores.elements).f32();
  std::vector<double> workspace(args.on_gpu() ? 0 : static_cast<size_t>(4 * kernel.groups));
  kernel.workspace = workspace.data();
  return RunKernel<OutcomeCenterArgs>(args, "outcomeConditionedCenter", kernel, OutcomeCenterCpu, OutcomeCenterCuda, 0);
}

}  // namespace

void RegisterGroupCenter(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "groupAdvantage", GroupAdvantage);
  Export(env, exports, "outcomeCenter", OutcomeCenter);
}

}  // namespace prl
