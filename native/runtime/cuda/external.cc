// Memory of other libraries and processes, without a copy.
#include <array>
#include <cstring>
#include <map>
#include <mutex>

#include "runtime/cuda/launch.h"
#include "runtime/cuda/queue.h"

namespace prl {
namespace {

// The allocation that a pointer lies in, from the driver. The driver is not linked (the addon loads where it is
// absent): its function is asked for at run time.
using GetAddressRange = int (*)(unsigned long long* base, size_t* size, unsigned long long pointer);

bool AllocationOf(const void* pointer, unsigned long long* base, size_t* size) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 13000
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &found, 12000, cudaEnableDefault, &result);
#else
  const cudaError_t error = cudaGetDriverEntryPoint("cuMemGetAddressRange", &found, cudaEnableDefault, &result);
#endif
  if (error != cudaSuccess || result != cudaDriverEntryPointSuccess || !found) {
    cudaGetLastError();
    return false;
  }
  return reinterpret_cast<GetAddressRange>(found)(base, size, (unsigned long long)(uintptr_t)pointer) == 0;
}

using IpcHandle = std::array<unsigned char, 64>;

// CUDA opens a handle once per process (drivers differ in what a second time does). So users are counted here.
struct OpenHandles {
  struct User {
    void* base;
    int count;
  };
  std::mutex mutex;
  std::map<IpcHandle, User> users;
};
OpenHandles& TheOpenHandles() {
  static OpenHandles* handles = new OpenHandles;
  return *handles;
}

Status OpenHandle(const IpcHandle& handle, void** base) {
  cudaIpcMemHandle_t given;
  memcpy(&given, handle.data(), handle.size());
  const cudaError_t error = cudaIpcOpenMemHandle(base, given, cudaIpcMemLazyEnablePeerAccess);
  if (error == cudaSuccess) return Ok();
  cudaGetLastError();
  if (error == cudaErrorDeviceUninitialized) {  // what CUDA calls it
    return Error(Code::kInvalidArgument, "the handle is this process's own (%s): use the tensor itself",
                 cudaGetErrorName(error));
  }
  return Error(Code::kCuda,
               "%s when opening the handle (%s): it must come from a process of this machine that runs and still has "
               "the memory",
               cudaGetErrorName(error), cudaGetErrorString(error));
}

// One user less. The last one waits for the stream and closes. Under the mutex.
void Close(OpenHandles& open, void* base) {
  for (auto it = open.users.begin(); it != open.users.end(); ++it) {
    if (it->second.base != base) continue;
    if (--it->second.count > 0) return;
    CudaMark mark;
    if (CudaMarkNow(&mark).ok()) (void)CudaWaitFor(mark);
    cudaIpcCloseMemHandle(base);
    open.users.erase(it);
    return;
  }
}

}  // namespace

Status CudaCheckPointer(const void* pointer, size_t bytes) {
  PRL_RETURN_IF_ERROR(CudaUse());
  cudaPointerAttributes attributes;
  PRL_CUDA_CHECK(cudaPointerGetAttributes(&attributes, pointer));
  if (attributes.type != cudaMemoryTypeDevice && attributes.type != cudaMemoryTypeManaged) {
    return Error(Code::kInvalidArgument, "pointer %p is not memory of a GPU", pointer);
  }
  if (attributes.device != CudaDeviceIndex()) {
    return Error(Code::kInvalidArgument,
                 "pointer %p is memory of GPU %d, but this process uses GPU %d (PRL_DEVICE chooses it)", pointer,
                 attributes.device, CudaDeviceIndex());
  }
  unsigned long long base = 0;
  size_t size = 0;
  if (AllocationOf(pointer, &base, &size)) {
    const size_t behind = (size_t)(base + size - (unsigned long long)(uintptr_t)pointer);
    if (bytes > behind) {
      return Error(Code::kOutOfRange,
                   "the tensor needs %zu bytes, but only %zu lie behind pointer %p in its allocation", bytes, behind,
                   pointer);
    }
  }
  return Ok();
}

Status CudaExportIpc(void* pointer, unsigned char handle[64], int64_t* offset) {
  PRL_RETURN_IF_ERROR(CudaUse());
  unsigned long long base = 0;
  size_t size = 0;
  *offset = AllocationOf(pointer, &base, &size) ? (int64_t)((unsigned long long)(uintptr_t)pointer - base) : 0;
  cudaIpcMemHandle_t made;
  static_assert(sizeof made == sizeof(IpcHandle), "the handle of CUDA IPC");
  PRL_CUDA_CHECK(cudaIpcGetMemHandle(&made, pointer));
  memcpy(handle, &made, 64);
  return Ok();
}

Status CudaImportIpc(const unsigned char handle[64], size_t offset, size_t bytes, void** base) {
  PRL_RETURN_IF_ERROR(CudaUse());
  IpcHandle key;
  memcpy(key.data(), handle, key.size());
  OpenHandles& open = TheOpenHandles();
  const std::lock_guard<std::mutex> lock(open.mutex);
  const auto known = open.users.find(key);
  if (known == open.users.end()) {
    PRL_RETURN_IF_ERROR(OpenHandle(key, base));
    open.users[key] = {*base, 0};
  } else {
    *base = known->second.base;
  }
  ++open.users[key].count;
  // Against the allocation that was opened: memory of another one may lie behind it.
  unsigned long long start = 0;
  size_t size = 0;
  if (AllocationOf(*base, &start, &size) && (offset > size || bytes > size - offset)) {
    Close(open, *base);
    return Error(Code::kOutOfRange, "the tensor needs %zu bytes from byte %zu on, but the memory of the handle has %zu",
                 bytes, offset, size);
  }
  return Ok();
}

void CudaCloseIpc(void* base) {
  if (!CudaUse().ok()) return;
  OpenHandles& open = TheOpenHandles();
  const std::lock_guard<std::mutex> lock(open.mutex);
  Close(open, base);
}

}  // namespace prl
