#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/cuda/device.h"
#include "runtime/cuda/state.h"

namespace prl {

namespace {

// Code on the GPU broke. Every later call of the process reports the same.
bool IsFault(cudaError_t error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure: return true;
    default: return false;
  }
}

}  // namespace

Status CudaFailure(cudaError_t error, const char* format, const char* subject) {
  cudaGetLastError();
  const char* blocking = getenv("CUDA_LAUNCH_BLOCKING");
  const bool waits = blocking && !strcmp(blocking, "1");  // then a call reports its own fault
  if (IsFault(error) && !waits) {
    const char* oldest = TheQueue().oldest;
    return Error(Code::kCuda,
                 "%s: work queued earlier broke the GPU for this process, which must end. The oldest call that may not "
                 "have ended: %s. CUDA_LAUNCH_BLOCKING=1 finds the culprit",
                 cudaGetErrorName(error), oldest ? oldest : "none of prl-node's");
  }
  char what[120];
  snprintf(what, sizeof what, format, subject);
  return Error(error == cudaErrorMemoryAllocation ? Code::kOutOfMemory : Code::kCuda, "%s %s: %s",
               cudaGetErrorName(error), what, cudaGetErrorString(error));
}

Status CudaAllowSharedMemory(const void* kernel) {
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.kernels);
  if (q.shared_allowed.count(kernel)) return Ok();
  cudaFuncAttributes attributes;
  PRL_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  const int most = (int)(q.limits.shared_bytes - attributes.sharedSizeBytes);
  PRL_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most));
  q.shared_allowed.insert(kernel);
  return Ok();
}

Status CudaClusterFits(const void* kernel, const LaunchShape& shape, bool* fits) {
  if (shape.shared_bytes > 48 * 1024) PRL_RETURN_IF_ERROR(CudaAllowSharedMemory(kernel));
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.kernels);
  const auto key = std::make_tuple(kernel, shape.threads, shape.cluster, shape.shared_bytes);
  const auto known = q.clusters_fit.find(key);
  if (known == q.clusters_fit.end()) {
    cudaLaunchAttribute attribute;
    const cudaLaunchConfig_t config = LaunchConfig(q.stream, shape, &attribute);
    int clusters = 0;
    PRL_CUDA_CHECK(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config));
    *fits = q.clusters_fit[key] = clusters > 0;
  } else {
    *fits = known->second;
  }
  return Ok();
}

bool CudaCompiled() { return true; }

void CudaVersions(int32_t* driver, int32_t* runtime) {
  int of_driver = 0;
  if (cudaDriverGetVersion(&of_driver) != cudaSuccess) cudaGetLastError();
  *driver = of_driver;
  *runtime = CUDART_VERSION;
}

void CudaDeviceCount(int32_t* count, char reason[128]) {
  reason[0] = 0;
  int n = 0;
  const cudaError_t error = cudaGetDeviceCount(&n);
  if (error != cudaSuccess) {
    n = 0;
    cudaGetLastError();  // the error is reported; do not let it surface in a later call
    int32_t driver = 0, runtime = 0;
    CudaVersions(&driver, &runtime);
    // The runtime says "insufficient driver" in both cases.
    if (driver == 0) snprintf(reason, 128, "no NVIDIA driver was found (libcuda.so.1)");
    else if (driver / 1000 < runtime / 1000)
      snprintf(reason, 128, "the NVIDIA driver runs CUDA up to %d.%d; this addon needs one for CUDA %d.0 or newer",
               driver / 1000, driver % 1000 / 10, runtime / 1000);
    else snprintf(reason, 128, "%s: %s", cudaGetErrorName(error), cudaGetErrorString(error));
  }
  *count = n;
}

Status CudaDeviceInfo(int32_t index, CudaDevice* device) {
  cudaDeviceProp properties;
  PRL_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  snprintf(device->name, sizeof device->name, "%s", properties.name);
  device->major = properties.major;
  device->minor = properties.minor;
  device->total_bytes = (int64_t)properties.totalGlobalMem;
  return Ok();
}

Status CudaFreeMemory(int32_t index, int64_t* bytes) {
  PRL_CUDA_CHECK(cudaSetDevice(index));
  size_t free_bytes = 0, total_bytes = 0;
  PRL_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  *bytes = (int64_t)free_bytes;
  return Ok();
}

Status CudaChosenDevice(int32_t* index) {
  *index = 0;
  const char* wish = getenv("PRL_DEVICE");
  if (wish && *wish) {
    int read = 0;
    if (!strcmp(wish, "cpu")) return Error(Code::kUnsupported, "PRL_DEVICE=cpu switches the GPU off");
    const bool number = sscanf(wish, "cuda:%d%n", index, &read) == 1 && !wish[read];
    if (!number && strcmp(wish, "cuda") != 0) {
      return Error(Code::kInvalidArgument, "PRL_DEVICE must be 'cpu', 'cuda' or 'cuda:N', not '%.40s'", wish);
    }
  }
  int32_t count = 0;
  char reason[128];
  CudaDeviceCount(&count, reason);
  if (count == 0)
    return Error(Code::kUnsupported, "there is no GPU to use (%s); 'prl doctor' says what is missing",
                 *reason ? reason : "no device");
  if (*index < 0 || *index >= count) {
    return Error(Code::kOutOfRange, "PRL_DEVICE=cuda:%d, but this machine has %d GPU%s", *index, count,
                 count == 1 ? "" : "s");
  }
  cudaDeviceProp properties;
  PRL_CUDA_CHECK(cudaGetDeviceProperties(&properties, *index));
  if (10 * properties.major + properties.minor < 75) {
    return Error(Code::kUnsupported, "%.80s has compute capability %d.%d; 7.5 is the least", properties.name,
                 properties.major, properties.minor);
  }
  return Ok();
}

}  // namespace prl
