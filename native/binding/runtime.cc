// The machine, the threads, the error class.
#include <cstring>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "binding/register.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/isa.h"
#include "runtime/cpu/thread_pool.h"
#include "runtime/cuda/cublas.h"
#include "runtime/cuda/device.h"
#include "runtime/cuda/queue.h"

namespace prl {
namespace {

Napi::Value Initialize(const Napi::CallbackInfo& info) {
  if (info.Length() < 1 || !info[0].IsFunction()) Throw(info.Env(), Code::kInvalidArgument, "expected the error class");
  info.Env().GetInstanceData<AddonData>()->prl_error = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

std::string CudaVersion(int32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// A GPU that fails is listed with its error: the others work. Only that in use is asked for what starts CUDA there.
Napi::Object DeviceObject(Napi::Env env, int32_t index, bool in_use) {
  CudaDevice device = {"unknown", 0, 0, 0};
  Status status = CudaDeviceInfo(index, &device);
  Napi::Object entry = Napi::Object::New(env);
  entry.Set("index", index);
  entry.Set("name", device.name);
  entry.Set("computeCapability", std::to_string(device.major) + "." + std::to_string(device.minor));
  entry.Set("totalBytes", static_cast<double>(device.total_bytes));
  int64_t free_bytes = 0;
  if (status.ok() && in_use) {
    status = CudaFreeMemory(index, &free_bytes);
    if (status.ok()) entry.Set("freeBytes", static_cast<double>(free_bytes));
  }
  if (!status.ok()) entry.Set("error", status.message);
  return entry;
}

// cuBLAS is a matter of the GPU: where none is used, nobody looks for it.
void AddCublas(Napi::Env env, Napi::Object result) {
  CublasLibrary library;
  const Status found = FindCublas(&library);
  result.Set("cublasReason", found.message);
  if (!found.ok()) return;
  Napi::Object cublas = Napi::Object::New(env);
  cublas.Set("path", library.path);
  cublas.Set("version", library.version);
  result.Set("cublas", cublas);
}

// What the garbage collector has been told to hang on objects, beyond the buffers of JavaScript: for tests.
Napi::Value ExternalMemory(const Napi::CallbackInfo& info) {
  int64_t bytes = 0;
  napi_adjust_external_memory(info.Env(), 0, &bytes);
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

Napi::Value Info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("isa", CpuIsaName(CpuIsa()));
  Napi::Array isas = Napi::Array::New(env);
  for (int i = 0; i <= static_cast<int>(BestCpuIsa()); ++i)
    isas.Set(static_cast<uint32_t>(i), CpuIsaName(static_cast<Isa>(i)));
  result.Set("isas", isas);
  result.Set("threads", NumThreads());
  result.Set("cudaCompiled", CudaCompiled());
  int32_t driver = 0, runtime = 0, count = 0, chosen = 0;
  CudaVersions(&driver, &runtime);
  if (driver) result.Set("cudaDriver", CudaVersion(driver));
  if (runtime) result.Set("cudaRuntime", CudaVersion(runtime));
  char reason[128];
  CudaDeviceCount(&count, reason);
  const Status choice = CudaChosenDevice(&chosen);
  Napi::Array devices = Napi::Array::New(env);
  for (int32_t i = 0; i < count; ++i)
    devices.Set(static_cast<uint32_t>(i), DeviceObject(env, i, choice.ok() && i == chosen));
  result.Set("cudaDevices", devices);
  result.Set("cudaReason", choice.ok() || count ? choice.message : reason);
  result.Set("cublasReason", "");
  if (choice.ok()) {
    result.Set("cudaDevice", chosen);
    AddCublas(env, result);
  }
  return result;
}

Napi::Value SetThreads(const Napi::CallbackInfo& info) {
  SetNumThreads(static_cast<int>(Args(info).Integer("threads", 1, 256)));
  return info.Env().Undefined();
}

// The matrix product as it is, for its test and its benchmark: c[m, n] (+)= op(a) op(b).
Napi::Value Gemm(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const int64_t limit = int64_t{1} << 31;
  const int64_t m = args.Integer("m", 0, limit), n = args.Integer("n", 0, limit), k = args.Integer("k", 0, limit);
  const bool transpose_a = args.Boolean("transposeA"), transpose_b = args.Boolean("transposeB"),
             accumulate = args.Boolean("accumulate");
  const TensorArg a = args.Tensor("a"), b = args.Tensor("b", {a.dtype}),
                  c = args.Output("c", {a.dtype, DType::kFloat32});
  const auto check = [&](const char* name, const TensorArg& tensor, int64_t elements) {
    if (tensor.elements == elements) return;
    Throw(args.env(), Code::kOutOfRange, "%s must have %lld elements, not %lld", name, (long long)elements,
          (long long)tensor.elements);
  };
  check("a", a, m * k);
  check("b", b, k * n);
  check("c", c, m * n);
  if (args.on_gpu()) {
    ThrowIfError(args.env(), GemmCuda("gemm", {m, n, k, a.dtype, a.data, transpose_a ? m : k, transpose_a, b.data,
                                               transpose_b ? k : n, transpose_b, c.dtype, c.data, n, accumulate}));
    return args.env().Undefined();
  }
  if (a.dtype != DType::kFloat32)
    Throw(args.env(), Code::kInvalidArgument, "on the CPU a must be float32, not %s", NameOf(a.dtype));
  GemmArgs gemm{m,
                n,
                k,
                a.f32(),
                transpose_a ? 1 : k,
                transpose_a ? m : 1,
                b.f32(),
                transpose_b ? 1 : n,
                transpose_b ? k : 1,
                static_cast<float*>(c.data),
                n,
                accumulate,
                nullptr};
  std::vector<float> packed;
  if (args.Boolean("pack")) {
    packed.resize(static_cast<size_t>(PackedBSize(k, n)));
    PackB(k, n, gemm.b, gemm.b_row, gemm.b_col, packed.data());
    gemm.packed_b = packed.data();
  }
  GemmCpu(gemm);
  return args.env().Undefined();
}

// The copy that benchmarks measure themselves against: on the CPU with all threads, in pieces of 1 MiB.
Napi::Value Copy(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg from = args.Tensor("from"), to = args.Output("to", {from.dtype});
  if (from.elements != to.elements) Throw(args.env(), Code::kOutOfRange, "from and to must have as many elements");
  const int64_t bytes = from.elements * static_cast<int64_t>(SizeOf(from.dtype));
  if (args.on_gpu()) {
    ThrowIfError(args.env(), CudaCopy(to.data, from.data, static_cast<size_t>(bytes)));
    return args.env().Undefined();
  }
  ParallelRows(bytes, 1 << 20, [&](int64_t begin, int64_t end) {
    std::memmove(static_cast<char*>(to.data) + begin, static_cast<const char*>(from.data) + begin,
                 static_cast<size_t>(end - begin));
  });
  return args.env().Undefined();
}

// Every byte of a tensor the same: what benchmarks sweep caches with.
Napi::Value Fill(const Napi::CallbackInfo& info) {
  const Args args(info, Args::kCpuOrGpu);
  const TensorArg to = args.Tensor("to");
  const int byte = static_cast<int>(args.Integer("byte", 0, 255));
  const size_t bytes = static_cast<size_t>(to.elements) * SizeOf(to.dtype);
  if (args.on_gpu()) ThrowIfError(args.env(), CudaFill(to.data, byte, bytes));
  else if (bytes) std::memset(to.data, byte, bytes);
  return args.env().Undefined();
}

// Gives what was freed back to the system, so that a benchmark sees in the process's size what a call takes.
Napi::Value TrimMemory(const Napi::CallbackInfo& info) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  return info.Env().Undefined();
}

}  // namespace

void RegisterRuntime(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "externalMemory", ExternalMemory);
  Export(env, exports, "initialize", Initialize);
  Export(env, exports, "info", Info);
  Export(env, exports, "setThreads", SetThreads);
  Export(env, exports, "gemm", Gemm);
  Export(env, exports, "copy", Copy);
  Export(env, exports, "fill", Fill);
  Export(env, exports, "trimMemory", TrimMemory);
}

}  // namespace prl
