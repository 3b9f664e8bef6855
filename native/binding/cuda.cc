#include "binding/cuda.h"

#include <cstring>

#include "binding/box.h"
#include "binding/register.h"
#include "runtime/cuda/cublas.h"

namespace prl {
namespace {

// Random.
constexpr napi_type_tag kMemoryTag = {0x9d41b7c25e0f4a83ull, 0x86e2f10d37ac59b4ull};
constexpr napi_type_tag kTicketTag = {0x21c7e85f90b34d6aull, 0xf3a80b6c1d52e497ull};
constexpr napi_type_tag kMarkTag = {0x6be03f5a87d14c29ull, 0xa95c24e7f0183b6dull};

using SharedMemoryHandle = std::shared_ptr<DeviceMemory>;

// The garbage collector is told what hangs on the small object of memory that is ours.
void TellCollector(napi_env env, const DeviceMemory& memory, int sign) {
  int64_t ignored;
  if (memory.origin == DeviceMemory::kAllocated)
    napi_adjust_external_memory(env, sign * static_cast<int64_t>(memory.bytes), &ignored);
}

void Release(napi_env env, DeviceMemory* memory) {
  if (!memory->pointer) return;
  if (memory->origin == DeviceMemory::kAllocated) CudaRelease(memory->pointer);
  if (memory->origin == DeviceMemory::kIpc) CudaCloseIpc(memory->ipc_base);
  memory->pointer = nullptr;
  TellCollector(env, *memory, -1);
}

Napi::Object BoxMemory(Napi::Env env, const DeviceMemory& memory) {
  TellCollector(env, memory, 1);
  const napi_env raw = env;
  // The deleter runs when JavaScript has forgotten the tensor.
  return Box(env, kMemoryTag, SharedMemoryHandle(new DeviceMemory(memory), [raw](DeviceMemory* m) {
               Release(raw, m);
               delete m;
             }));
}

const SharedMemoryHandle& Alive(Napi::Env env, Napi::Value value, const char* name) {
  const auto& memory = Unbox<SharedMemoryHandle>(env, kMemoryTag, value, name, "memory of the GPU");
  if (!memory->pointer) Throw(env, Code::kDisposed, "%s was disposed of", name);
  return memory;
}

DeviceMemory& MemoryArg(const Args& args) { return *Alive(args.env(), args.Value("memory"), "the tensor"); }

int64_t BytesArg(const Args& args, const char* name = "bytes") { return args.Integer(name, 0, int64_t{1} << 46); }

Napi::Value Allocate(const Napi::CallbackInfo& info) {
  const Args args(info);
  DeviceMemory memory;
  memory.bytes = static_cast<size_t>(BytesArg(args));
  const bool zero = args.Boolean("zero");
  ThrowIfError(args.env(), CudaAllocate(memory.bytes, &memory.pointer));
  const Napi::Object boxed = BoxMemory(args.env(), memory);
  if (zero) ThrowIfError(args.env(), CudaFill(memory.pointer, 0, memory.bytes));
  return boxed;
}

Napi::Value Upload(const Napi::CallbackInfo& info) {
  const Args args(info);
  const DeviceMemory& memory = MemoryArg(args);
  const TypedArrayMemory data = TypedArrayMemoryOf(args.env(), args.Value("data"), "data");
  if (data.bytes > memory.bytes)
    Throw(args.env(), Code::kOutOfRange, "%zu bytes do not fit in the tensor's %zu", data.bytes, memory.bytes);
  ThrowIfError(args.env(), CudaUpload(memory.pointer, data.data, data.bytes));
  return args.env().Undefined();
}

// Waits on a thread of its own, so that the event loop goes on; the promise is of what `result` then makes.
class Wait : public Napi::AsyncWorker {
 public:
  Wait(Napi::Env env, std::function<Status()> work, std::function<Napi::Value(Napi::Env)> result)
      : Napi::AsyncWorker(env, "prl-cuda"), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)),
        result_(std::move(result)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }
  void Execute() override { status_ = work_(); }
  void OnOK() override {
    Napi::HandleScope scope(Env());
    if (!status_.ok()) return deferred_.Reject(ToError(Env(), status_).Value());
    try {
      deferred_.Resolve(result_(Env()));
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<Status()> work_;
  std::function<Napi::Value(Napi::Env)> result_;
  Status status_;
};

// A promise of what `work` does on a thread of its own.
Napi::Value Promise(Napi::Env env, std::function<Status()> work, std::function<Napi::Value(Napi::Env)> result) {
  Wait* wait = new Wait(env, std::move(work), std::move(result));
  const Napi::Promise promise = wait->promise();
  wait->Queue();
  return promise;
}

// A promise of an ArrayBuffer with the first bytes of the memory. Another thread fills it before JavaScript knows it:
// nobody can detach it meanwhile.
Napi::Value Read(const Napi::CallbackInfo& info) {
  const Args args(info);
  const SharedMemoryHandle memory = Alive(args.env(), args.Value("memory"), "the tensor");
  const size_t bytes = static_cast<size_t>(BytesArg(args));
  if (bytes > memory->bytes)
    Throw(args.env(), Code::kOutOfRange, "the tensor has %zu bytes, not %zu", memory->bytes, bytes);
  const auto values = std::make_shared<std::unique_ptr<char[]>>(new char[bytes]);
  std::shared_ptr<CudaDownload> download;
  ThrowIfError(args.env(), CudaBeginDownload(memory->pointer, bytes, &download));
  return Promise(
      args.env(), [download, values] { return CudaFinishDownload(download, values->get()); },
      [values, bytes](Napi::Env env) {
        const auto free = [](Napi::Env, void* data) { delete[] static_cast<char*>(data); };
        const Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, values->get(), bytes, free);
        (void)values->release();
        return buffer;
      });
}

Napi::Value Nothing(Napi::Env env) { return env.Undefined(); }

Napi::Value Synchronize(const Napi::CallbackInfo& info) {
  CudaMark mark;
  ThrowIfError(info.Env(), CudaMarkNow(&mark));
  return Promise(
      info.Env(),
      [mark] {
        PRL_RETURN_IF_ERROR(CudaWaitFor(mark));
        return CudaFailuresUntil(mark);
      },
      Nothing);
}

// Opens the GPU and, where it is found, cuBLAS.
Napi::Value Start(const Napi::CallbackInfo& info) {
  return Promise(
      info.Env(),
      [] {
        PRL_RETURN_IF_ERROR(CudaUse());
        const Status cublas = StartCublas();
        return cublas.code == Code::kUnsupported ? Ok() : cublas;
      },
      Nothing);
}

Napi::Value EmptyCache(const Napi::CallbackInfo& info) {
  const auto bytes = std::make_shared<int64_t>(0);
  return Promise(
      info.Env(), [bytes] { return CudaEmptyCache(bytes.get()); },
      [bytes](Napi::Env env) { return Napi::Number::New(env, static_cast<double>(*bytes)); });
}

Napi::Value Dispose(const Napi::CallbackInfo& info) {
  const Args args(info);
  Release(args.env(),
          Unbox<SharedMemoryHandle>(args.env(), kMemoryTag, args.Value("memory"), "memory", "memory of the GPU").get());
  return args.env().Undefined();
}

Napi::Value Pointer(const Napi::CallbackInfo& info) {
  const Args args(info);
  DeviceMemory& memory = MemoryArg(args);
  memory.address_known = true;
  return Napi::BigInt::New(args.env(), static_cast<uint64_t>(reinterpret_cast<uintptr_t>(memory.pointer)));
}

Napi::Value Wrap(const Napi::CallbackInfo& info) {
  const Args args(info);
  const Napi::Value value = args.Value("pointer");
  if (!value.IsBigInt()) Throw(args.env(), Code::kInvalidArgument, "pointer must be a bigint");
  bool lossless = false;
  const uint64_t address = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless || address == 0)
    Throw(args.env(), Code::kOutOfRange, "pointer must be an address of 64 bits other than 0");
  const int64_t alignment = args.Integer("alignment", 1, 16);
  if (address % static_cast<uint64_t>(alignment) != 0) {
    Throw(args.env(), Code::kOutOfRange, "pointer must be a multiple of %lld, the size of an element",
          (long long)alignment);
  }
  DeviceMemory memory;
  memory.pointer = reinterpret_cast<void*>(static_cast<uintptr_t>(address));
  memory.bytes = static_cast<size_t>(BytesArg(args));
  memory.origin = DeviceMemory::kBorrowed;
  ThrowIfError(args.env(), CudaCheckPointer(memory.pointer, memory.bytes));
  return BoxMemory(args.env(), memory);
}

Napi::Value ExportIpc(const Napi::CallbackInfo& info) {
  const Args args(info);
  DeviceMemory& memory = MemoryArg(args);
  if (memory.origin == DeviceMemory::kIpc) {
    Throw(args.env(), Code::kInvalidArgument,
          "the tensor came from another process: only the process that allocated it can share it");
  }
  if (memory.origin == DeviceMemory::kBorrowed) {
    Throw(args.env(), Code::kUnsupported,
          "the tensor's memory has another owner, who alone knows what else lies there: let the owner share it");
  }
  ThrowIfError(args.env(), CudaIsolate(&memory.pointer, memory.bytes, !memory.address_known));
  unsigned char handle[64];
  int64_t offset = 0;
  ThrowIfError(args.env(), CudaExportIpc(memory.pointer, handle, &offset));
  Napi::Uint8Array bytes = Napi::Uint8Array::New(args.env(), 64);
  std::memcpy(bytes.Data(), handle, 64);
  Napi::Object result = Napi::Object::New(args.env());
  result.Set("handle", bytes);
  result.Set("offset", static_cast<double>(offset));
  return result;
}

Napi::Value ImportIpc(const Napi::CallbackInfo& info) {
  const Args args(info);
  const TypedArrayMemory handle = TypedArrayMemoryOf(args.env(), args.Value("handle"), "handle");
  if (handle.bytes != 64) Throw(args.env(), Code::kOutOfRange, "handle must have 64 bytes, not %zu", handle.bytes);
  const int64_t offset = BytesArg(args, "offset");
  DeviceMemory memory;
  memory.bytes = static_cast<size_t>(BytesArg(args));
  memory.origin = DeviceMemory::kIpc;
  ThrowIfError(args.env(), CudaImportIpc(static_cast<const unsigned char*>(handle.data), static_cast<size_t>(offset),
                                         memory.bytes, &memory.ipc_base));
  memory.pointer = static_cast<char*>(memory.ipc_base) + offset;
  return BoxMemory(args.env(), memory);
}

Napi::Value MemoryUse(const Napi::CallbackInfo& info) {
  const Args args(info);
  const CudaMemoryUse use = CudaMemory(args.Boolean("resetPeak"));
  Napi::Object result = Napi::Object::New(args.env());
  result.Set("inUse", static_cast<double>(use.in_use));
  result.Set("peak", static_cast<double>(use.peak));
  result.Set("cached", static_cast<double>(use.cached));
  return result;
}

Napi::Value EventRecord(const Napi::CallbackInfo& info) {
  CudaMark mark;
  ThrowIfError(info.Env(), CudaMarkNow(&mark));
  return Box(info.Env(), kMarkTag, std::move(mark));
}

Napi::Value EventElapsed(const Napi::CallbackInfo& info) {
  const Args args(info);
  const auto mark = [&](const char* name) {
    return Unbox<CudaMark>(args.env(), kMarkTag, args.Value(name), name, "what cudaEventRecord gave");
  };
  float milliseconds = 0;
  ThrowIfError(args.env(), CudaElapsed(mark("start"), mark("end"), &milliseconds));
  return Napi::Number::New(args.env(), milliseconds);
}

}  // namespace

const DeviceMemory& DeviceMemoryOf(Napi::Env env, Napi::Value value, const char* name) {
  return *Alive(env, value, name);
}

Napi::Value BoxTicket(Napi::Env env, CudaTicketPtr ticket) { return Box(env, kTicketTag, std::move(ticket)); }

const double* ValuesOf(const Args& args, const char* name) {
  const double* values = nullptr;
  ThrowIfError(
      args.env(),
      CudaWait(Unbox<CudaTicketPtr>(args.env(), kTicketTag, args.Value(name), name, "the ticket of a call"), &values));
  return values;
}

void RegisterCuda(Napi::Env env, Napi::Object exports) {
  Export(env, exports, "cudaAllocate", Allocate);
  Export(env, exports, "cudaUpload", Upload);
  Export(env, exports, "cudaRead", Read);
  Export(env, exports, "cudaSynchronize", Synchronize);
  Export(env, exports, "cudaStart", Start);
  Export(env, exports, "cudaEmptyCache", EmptyCache);
  Export(env, exports, "cudaDispose", Dispose);
  Export(env, exports, "cudaPointer", Pointer);
  Export(env, exports, "cudaWrap", Wrap);
  Export(env, exports, "cudaExportIpc", ExportIpc);
  Export(env, exports, "cudaImportIpc", ImportIpc);
  Export(env, exports, "cudaMemory", MemoryUse);
  Export(env, exports, "cudaEventRecord", EventRecord);
  Export(env, exports, "cudaEventElapsed", EventElapsed);
}

}  // namespace prl
