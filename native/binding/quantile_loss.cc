#include "kernels/quantile_loss/quantile_loss.h"

#include "binding/cuda.h"
#include "binding/quantiles.h"
#include "binding/register.h"

namespace prl {

int32_t ReadQuantiles(const Args& args, double* level) {
  const std::vector<double> list = args.Numbers("quantiles", kMaxQuantiles);
  for (size_t j = 0; j < list.size(); ++j) {
    if (!(list[j] > 0.0 && list[j] < 1.0))
      Throw(args.env(), Code::kOutOfRange, "quantiles[%zu] must be above 0 and below 1", j);
    level[j] = list[j];
  }
  return static_cast<int32_t>(list.size());
}

namespace {

Napi::Value Run(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  QuantileLossArgs kernel{};
  kernel.quantiles = ReadQuantiles(args, kernel.level);
  kernel.norm_rows = args.Number("normRows");
  const TensorArg values = args.Tensor("values", {DType::kFloat32});
  if (values.shape.size() != 2 || values.shape[1] != kernel.quantiles) {
    Throw(args.env(), Code::kOutOfRange, "values must have the shape [rows, %d], one column per quantile",
          kernel.quantiles);
  }
  kernel.rows = values.shape[0];
  kernel.values = values.f32();
  kernel.targets = args.Floats("targets", kernel.rows).f32();
  kernel.d_values = args.OutputFloats("dValues", values.elements).f32();
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
