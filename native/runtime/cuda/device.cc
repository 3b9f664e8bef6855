#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/cuda/device.h"
#include "runtime/cuda/launch.h"

namespace prl {

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
  int previous = 0;
  PRL_CUDA_CHECK(cudaGetDevice(&previous));
  PRL_CUDA_CHECK(cudaSetDevice(index));
  size_t free_bytes = 0, total_bytes = 0;
  const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes);
  cudaSetDevice(previous);
  PRL_CUDA_CHECK(error);
  snprintf(device->name, sizeof device->name, "%s", properties.name);
  device->major = properties.major;
  device->minor = properties.minor;
  device->total_bytes = (int64_t)total_bytes;
  device->free_bytes = (int64_t)free_bytes;
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
