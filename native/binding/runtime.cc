// The machine, the threads, the error class.
#include <cstring>

#include "binding/register.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/isa.h"
#include "runtime/cpu/thread_pool.h"
#include "runtime/cuda/device.h"

namespace prl {
namespace {

Napi::Value Initialize(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsFunction()) Throw(info.Env(), Code::kInvalidArgument, "expected the error class");
  info.Env().GetInstanceData<AddonData>()->prl_error = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Value Info(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("isa", CpuIsaName());
  result.Set("threads", NumThreads());
  result.Set("cudaCompiled", CudaCompiled());
  int32_t count = 0;
  char reason[128];
  CudaDeviceCount(&count, reason);
  Napi::Array devices = Napi::Array::New(info.Env());
  for (int32_t i = 0; i < count; ++i) {
    CudaDevice device;
    ThrowIfError(info.Env(), CudaDeviceInfo(i, &device));
    Napi::Object entry = Napi::Object::New(info.Env());
    entry.Set("name", device.name);
    entry.Set("computeCapability", std::to_string(device.major) + "." + std::to_string(device.minor));
    entry.Set("totalBytes", static_cast<double>(device.total_bytes));
    entry.Set("freeBytes", static_cast<double>(device.free_bytes));
    devices.Set(static_cast<uint32_t>(i), entry);
  }
  result.Set("cudaDevices", devices);
  result.Set("cudaReason", reason);
  return result;
}

Napi::Value SetThreads(const Napi::CallbackInfo& info) {
  SetNumThreads(static_cast<int>(Args(info).Integer("threads", 1, 256)));
  return info.Env().Undefined();
}

// The matrix product as it is, for its test and its benchmark: c[m, n] (+)= op(a) op(b).
Napi::Value Gemm(const Napi::CallbackInfo& info) {
  const Args args(info);
  const int64_t limit = int64_t{1} << 31;
  const int64_t m = args.Integer("m", 0, limit), n = args.Integer("n", 0, limit), k = args.Integer("k", 0, limit);
  const bool transpose_a = args.Boolean("transposeA"), transpose_b = args.Boolean("transposeB");
  const TensorArg a = args.Floats("a", m * k), b = args.Floats("b", k * n);
  TensorArg c = args.Floats("c", m * n);
  GemmArgs gemm{m, n, k, a.f32(), transpose_a ? 1 : k, transpose_a ? m : 1, b.f32(), transpose_b ? 1 : n, transpose_b ? k : 1,
                c.f32(), n, args.Boolean("accumulate"), nullptr};
  std::vector<float> packed;
  if (args.Boolean("pack")) {
    packed.resize(static_cast<size_t>(PackedBSize(k, n)));
    PackB(k, n, gemm.b, gemm.b_row, gemm.b_col, packed.data());
    gemm.packed_b = packed.data();
  }
  GemmCpu(gemm);
  return info.Env().Undefined();
}

// The copy that benchmarks measure themselves against: with all threads, in pieces of 1 MiB.
Napi::Value Copy(const Napi::CallbackInfo& info) {
  const Args args(info);
  const TensorArg from = args.Tensor("from", {DType::kFloat32});
  TensorArg to = args.Floats("to", from.elements);
  ParallelRows(from.elements, 1 << 18, [&](int64_t begin, int64_t end) {
    std::memmove(to.f32() + begin, from.f32() + begin, static_cast<size_t>(end - begin) * sizeof(float));
  });
  return info.Env().Undefined();
}

}  // namespace

void RegisterRuntime(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "initialize", Initialize);
  Export(env, exports, "info", Info);
  Export(env, exports, "setThreads", SetThreads);
  Export(env, exports, "gemm", Gemm);
  Export(env, exports, "copy", Copy);
}

}  // namespace prl
