// Stands in for CUDA's header when the .cu files are compiled by the host's compiler (PRL_CUDA_EMULATOR). Host API
// here, device side in device.h, written from the API's documentation. What is not here is not emulated.
#pragma once

#include <functional>
#include <memory>
#include <tuple>
#include <vector>

#include "device.h"

#define CUDART_VERSION 13000
#define CUDART_CB

#define PRL_EMULATOR_ERRORS(X)                                                                           \
  X(cudaSuccess, 0, "no error")                                                                          \
  X(cudaErrorInvalidValue, 1, "invalid argument")                                                        \
  X(cudaErrorMemoryAllocation, 2, "out of memory")                                                       \
  X(cudaErrorInitializationError, 3, "initialization error")                                             \
  X(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                  \
  X(cudaErrorInvalidSymbol, 13, "invalid device symbol")                                                 \
  X(cudaErrorInvalidDevicePointer, 17, "invalid device pointer")                                         \
  X(cudaErrorInvalidMemcpyDirection, 21, "invalid copy direction for memcpy")                            \
  X(cudaErrorDevicesUnavailable, 46, "CUDA-capable device(s) is/are busy or unavailable")                \
  X(cudaErrorInsufficientDriver, 35, "CUDA driver version is insufficient for CUDA runtime version")     \
  X(cudaErrorInvalidDeviceFunction, 98, "invalid device function")                                       \
  X(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                        \
  X(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                               \
  X(cudaErrorInvalidKernelImage, 200, "device kernel image is invalid")                                  \
  X(cudaErrorDeviceUninitialized, 201, "invalid device context")                                         \
  X(cudaErrorMapBufferObjectFailed, 205, "mapping of buffer object failed")                              \
  X(cudaErrorNoKernelImageForDevice, 209, "no kernel image is available for execution on the device")    \
  X(cudaErrorECCUncorrectable, 214, "uncorrectable ECC error encountered")                               \
  X(cudaErrorInvalidPtx, 218, "a PTX JIT compilation failed")                                            \
  X(cudaErrorJitCompilerNotFound, 221, "PTX JIT compiler library not found")                             \
  X(cudaErrorUnsupportedPtxVersion, 222, "the provided PTX was compiled with an unsupported toolchain.") \
  X(cudaErrorSharedObjectSymbolNotFound, 302, "shared object symbol not found")                          \
  X(cudaErrorOperatingSystem, 304, "OS call failed or operation not supported on this OS")               \
  X(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                      \
  X(cudaErrorSymbolNotFound, 500, "named symbol not found")                                              \
  X(cudaErrorNotReady, 600, "device not ready")                                                          \
  X(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                            \
  X(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch")                       \
  X(cudaErrorLaunchTimeout, 702, "the launch timed out and was terminated")                              \
  X(cudaErrorAssert, 710, "device-side assert triggered")                                                \
  X(cudaErrorHardwareStackError, 714, "hardware stack error")                                            \
  X(cudaErrorIllegalInstruction, 715, "an illegal instruction was encountered")                          \
  X(cudaErrorMisalignedAddress, 716, "misaligned address")                                               \
  X(cudaErrorInvalidAddressSpace, 717, "operation not supported on global/shared address space")         \
  X(cudaErrorInvalidPc, 718, "invalid program counter")                                                  \
  X(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                           \
  X(cudaErrorNotPermitted, 800, "operation not permitted")                                               \
  X(cudaErrorNotSupported, 801, "operation not supported")                                               \
  X(cudaErrorInvalidClusterSize, 912, "invalid cluster size")                                            \
  X(cudaErrorUnknown, 999, "unknown error")
#define PRL_EMULATOR_ENUMERATOR(name, value, text) name = value,
enum cudaError_t { PRL_EMULATOR_ERRORS(PRL_EMULATOR_ENUMERATOR) };
typedef cudaError_t cudaError;

typedef struct prl_emulator_stream* cudaStream_t;
typedef struct prl_emulator_event* cudaEvent_t;
#define cudaStreamLegacy ((cudaStream_t)0x1)
enum { cudaStreamDefault = 0, cudaStreamNonBlocking = 1 };
enum { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2, cudaEventInterprocess = 4 };
enum { cudaEventWaitDefault = 0, cudaEventRecordDefault = 0 };
enum { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1, cudaHostAllocMapped = 2, cudaHostAllocWriteCombined = 4 };
enum { cudaHostRegisterDefault = 0, cudaHostRegisterPortable = 1 };
enum { cudaIpcMemLazyEnablePeerAccess = 1 };
enum { cudaEnableDefault = 0 };
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9,
  cudaFuncAttributeNonPortableClusterSizeAllowed = 14,
};
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1,
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrWarpSize = 10,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
  cudaDevAttrClusterLaunch = 120,
};
enum cudaLaunchAttributeID {
  cudaLaunchAttributeIgnore = 0,
  cudaLaunchAttributeCooperative = 2,
  cudaLaunchAttributeClusterDimension = 4,
  cudaLaunchAttributeProgrammaticStreamSerialization = 6,
  cudaLaunchAttributePriority = 8,
};
enum cudaDriverEntryPointQueryResult {
  cudaDriverEntryPointSuccess,
  cudaDriverEntryPointSymbolNotFound,
  cudaDriverEntryPointVersionNotSufficent
};

struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
  int regsPerBlock, warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor, maxBlocksPerMultiProcessor;
  int major, minor, multiProcessorCount, l2CacheSize, persistingL2CacheMaxSize, memoryBusWidth;
  int pciBusID, pciDeviceID, pciDomainID, integrated, unifiedAddressing;
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void* devicePointer;
  void* hostPointer;
};
struct cudaFuncAttributes {
  size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
  int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, cacheModeCA, maxDynamicSharedSizeBytes,
      preferredShmemCarveout;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union cudaLaunchAttributeValue {
    struct {
      unsigned x, y, z;
    } clusterDim;
    int cooperative, priority, programmaticStreamSerializationAllowed;
  } val;
};
typedef cudaLaunchAttribute::cudaLaunchAttributeValue cudaLaunchAttributeValue;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
struct cudaIpcMemHandle_t {
  char reserved[64];
};
typedef void (*cudaHostFn_t)(void*);

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceGetPCIBusId(char* id, int bytes, int device);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaDeviceReset();

cudaError_t cudaMalloc(void** pointer, size_t bytes);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void** pointer, size_t bytes);
cudaError_t cudaFreeHost(void* pointer);
cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned flags);
cudaError_t cudaHostUnregister(void* pointer);
template <typename T>
cudaError_t cudaMalloc(T** pointer, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), bytes);
}
template <typename T>
cudaError_t cudaMallocHost(T** pointer, size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void**>(pointer), bytes);
}
template <typename T>
cudaError_t cudaHostAlloc(T** pointer, size_t bytes, unsigned flags) {
  return cudaHostAlloc(reinterpret_cast<void**>(pointer), bytes, flags);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr);
cudaError_t cudaMemset(void* to, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream = nullptr);

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaEventDestroy(cudaEvent_t event);

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer);
cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned flags);
cudaError_t cudaIpcCloseMemHandle(void* pointer);
cudaError_t cudaGetDriverEntryPoint(const char* symbol, void** function, unsigned long long flags,
                                    cudaDriverEntryPointQueryResult* result = nullptr);
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned version,
                                             unsigned long long flags,
                                             cudaDriverEntryPointQueryResult* result = nullptr);

namespace prl_emulator {
struct Piece {
  const void* data;
  size_t bytes;
};
cudaError_t Launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> thread,
                   std::vector<Piece> arguments);
cudaError_t SetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t GetAttributes(cudaFuncAttributes* attributes, const void* kernel);
cudaError_t MaxActiveBlocks(int* blocks, int threads, size_t shared_bytes);
cudaError_t MaxActiveClusters(int* clusters, const cudaLaunchConfig_t& config);
}  // namespace prl_emulator

// The arguments are copied here, at launch, as on a GPU; every thread then gets its own copy.
template <typename... Expected, typename... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Actual&&... actual) {
  static_assert((std::is_trivially_copyable<Expected>::value && ...), "kernel arguments are copied as bytes");
  auto arguments =
      std::make_shared<std::tuple<std::decay_t<Expected>...>>(static_cast<Expected>(std::forward<Actual>(actual))...);
  std::vector<prl_emulator::Piece> pieces;
#if defined(__has_builtin) && __has_builtin(__builtin_clear_padding)
  // Without what lay in the gaps between fields before: the launch looks for pointers that a GPU could not follow.
  std::apply(
      [&](auto&... one) {
        ((__builtin_clear_padding(&one), pieces.push_back({&one, sizeof one})), ...);
      },
      *arguments);
#endif
  return prl_emulator::Launch(
      *config, reinterpret_cast<const void*>(kernel), [kernel, arguments] { std::apply(kernel, *arguments); },
      std::move(pieces));
}
template <typename T>
cudaError_t cudaFuncSetAttribute(T* kernel, cudaFuncAttribute attribute, int value) {
  return prl_emulator::SetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <typename T>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, T* kernel) {
  return prl_emulator::GetAttributes(attributes, reinterpret_cast<const void*>(kernel));
}
template <typename T>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, T*, int threads, size_t shared_bytes) {
  return prl_emulator::MaxActiveBlocks(blocks, threads, shared_bytes);
}
template <typename T>
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, T*, const cudaLaunchConfig_t* config) {
  return prl_emulator::MaxActiveClusters(clusters, *config);
}
