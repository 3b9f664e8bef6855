#include "kernels/coherence/coherence.h"

#include <cmath>

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

void ReadWindows(const Args& args, CoherenceArgs* kernel) {
  const std::vector<double> windows = args.Numbers("windows", kMaxCoherenceWindows);
  for (size_t j = 0; j < windows.size(); ++j) {
    const double size = windows[j];
    if (!(size >= 1 && size <= INT32_MAX && size == std::floor(size))) {
      Throw(args.env(), Code::kOutOfRange, "windows[%zu] must be an integer from 1 to %d", j, INT32_MAX);
    }
    kernel->windows[j] = static_cast<int32_t>(size);
  }
  kernel->window_sizes = static_cast<int32_t>(windows.size());
}

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  CoherenceArgs kernel{};
  ReadWindows(args, &kernel);
  kernel.lambda_var = args.Number("lambdaVar");
  const PackedFloats scores = ReadPacked(args, "stepScores", "cuScores", "scores");
  kernel.scores = scores.elements;
  kernel.responses = scores.pieces;
  kernel.step_scores = scores.values.f32();
  kernel.cu_scores = scores.offsets;
  kernel.out = args.OutputFloats("coherence", kernel.responses).f32();
  return RunKernel<CoherenceArgs>(args, "coherence", kernel, CoherenceCpu, CoherenceCuda, kernel.scores);
}

}  // namespace

void RegisterCoherence(Napi::Env env, Napi::Object exports) { Export(env, exports, "coherence", Run); }

}  // namespace prl
