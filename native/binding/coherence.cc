#include "kernels/coherence/coherence.h"

#include <cmath>

#include "binding/cuda.h"
#include "binding/register.h"

namespace prl {
namespace {

void ReadWindows(const Args& args, CoherenceArgs* kernel) {
  const Napi::Value value = args.object().Get("windows");
  if (!value.IsArray()) Throw(args.env(), Code::kInvalidArgument, "windows must be an array");
  const Napi::Array windows = value.As<Napi::Array>();
  const uint32_t length = windows.Length();
  if (length < 1 || length > kMaxCoherenceWindows) {
    Throw(args.env(), Code::kOutOfRange, "windows must hold 1 to %d sizes, not %u", kMaxCoherenceWindows, length);
  }
  for (uint32_t j = 0; j < length; ++j) {
    const Napi::Value item = windows.Get(j);
    const double size = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : 0.0;
    if (!(size >= 1 && size <= INT32_MAX && size == std::floor(size))) {
      Throw(args.env(), Code::kOutOfRange, "windows[%u] must be an integer from 1 to %d", j, INT32_MAX);
    }
    kernel->windows[j] = static_cast<int32_t>(size);
  }
  kernel->window_sizes = static_cast<int32_t>(length);
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
  kernel.out = args.Floats("coherence", kernel.responses).f32();
  if (args.on_gpu()) {
    RunOnCuda(args.env(), "coherence", kernel.scores, 0, [&](const CudaCall& call) { return CoherenceCuda(kernel, call); });
  } else {
    ThrowIfError(args.env(), CoherenceCpu(kernel));
  }
  return args.env().Undefined();
}

}  // namespace

void RegisterCoherence(Napi::Env env, Napi::Object exports) { Export(env, exports, "coherence", Run); }

}  // namespace prl
