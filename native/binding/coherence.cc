#include "kernels/coherence/coherence.h"

#include "binding/register.h"

namespace prl {
namespace {

void ReadWindows(const Args& args, CoherenceArgs* kernel) {
  const TensorArg windows = args.Tensor("windows", {DType::kInt32});
  if (windows.elements < 1 || windows.elements > kMaxCoherenceWindows) {
    Throw(args.env(), Code::kOutOfRange, "windows must hold 1 to %d sizes, not %lld", kMaxCoherenceWindows, (long long)windows.elements);
  }
  kernel->window_sizes = static_cast<int32_t>(windows.elements);
  for (int32_t j = 0; j < kernel->window_sizes; ++j) {
    kernel->windows[j] = windows.i32()[j];
    if (kernel->windows[j] < 1) Throw(args.env(), Code::kOutOfRange, "windows[%d] = %d must be at least 1", j, kernel->windows[j]);
  }
}

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info);
  CoherenceArgs kernel{};
  ReadWindows(args, &kernel);
  kernel.lambda_var = args.Number("lambdaVar");
  const TensorArg scores = args.Tensor("stepScores", {DType::kFloat32});
  const TensorArg offsets = args.Tensor("cuScores", {DType::kInt32});
  kernel.scores = scores.elements;
  kernel.responses = CheckOffsets(args.env(), "cuScores", offsets, kernel.scores, "scores");
  kernel.step_scores = scores.f32();
  kernel.cu_scores = offsets.i32();
  kernel.out = args.Floats("coherence", kernel.responses).f32();
  ThrowIfError(args.env(), CoherenceCpu(kernel));
  return args.env().Undefined();
}

}  // namespace

void RegisterCoherence(Napi::Env env, Napi::Object exports) { Export(env, exports, "coherence", Run); }

}  // namespace prl
