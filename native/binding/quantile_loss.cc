#include "kernels/quantile_loss/quantile_loss.h"

#include "binding/cuda.h"
#include "binding/quantiles.h"
#include "binding/register.h"

namespace prl {

int32_t ReadQuantiles(const Args& args, double* level) {
  const Napi::Value value = args.object().Get("quantiles");
  if (!value.IsArray()) Throw(args.env(), Code::kInvalidArgument, "quantiles must be an array");
  const Napi::Array list = value.As<Napi::Array>();
  const uint32_t length = list.Length();
  if (length < 1 || length > kMaxQuantiles) {
    Throw(args.env(), Code::kOutOfRange, "quantiles must hold 1 to %d numbers, not %u", kMaxQuantiles, length);
  }
  for (uint32_t j = 0; j < length; ++j) {
    const Napi::Value item = list.Get(j);
    level[j] = item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : -1.0;
    if (!(level[j] > 0.0 && level[j] < 1.0)) Throw(args.env(), Code::kOutOfRange, "quantiles[%u] must be above 0 and below 1", j);
  }
  return static_cast<int32_t>(length);
}

namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  QuantileLossArgs kernel{};
  kernel.quantiles = ReadQuantiles(args, kernel.level);
  kernel.norm_rows = args.Number("normRows");
  const TensorArg values = args.Tensor("values", {DType::kFloat32});
  if (values.shape.size() != 2 || values.shape[1] != kernel.quantiles) {
    Throw(args.env(), Code::kOutOfRange, "values must have the shape [rows, %d], one column per quantile", kernel.quantiles);
  }
  kernel.rows = values.shape[0];
  kernel.values = values.f32();
  kernel.targets = args.Floats("targets", kernel.rows).f32();
  kernel.d_values = args.Floats("dValues", values.elements).f32();
  if (args.on_gpu()) {
    const size_t bytes = static_cast<size_t>(QuantileLossBlocks(kernel)) * sizeof(double);
    return BoxTicket(args.env(), RunOnCuda(args.env(), "quantileLoss", kernel.rows, bytes,
                                           [&](const CudaCall& call) { return QuantileLossCuda(kernel, call); }));
  }
  double loss = 0.0;
  kernel.loss = &loss;
  ThrowIfError(args.env(), QuantileLossCpu(kernel));
  return Napi::Number::New(args.env(), loss);
}

// The loss of a call that was queued: waits for it, throws what it found wrong.
Napi::Value Loss(const Napi::CallbackInfo& info) {
  const Args args(info);
  return Napi::Number::New(args.env(), ValuesOf(args, "ticket")[0]);
}

}  // namespace

void RegisterQuantileLoss(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "quantileLoss", Run);
  Export(env, exports, "quantileLossValue", Loss);
}

}  // namespace prl
