#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

#include "runtime/cuda/device.h"
#include "runtime/cuda/launch.h"

namespace prl {

bool CudaCompiled() { return true; }

void CudaDeviceCount(int32_t* count, char reason[128]) {
  reason[0] = 0;
  int n = 0;
  const cudaError_t error = cudaGetDeviceCount(&n);
  if (error != cudaSuccess) {
    n = 0;
    snprintf(reason, 128, "%s: %s", cudaGetErrorName(error), cudaGetErrorString(error));
    cudaGetLastError();  // the error is reported; do not let it surface in a later call
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

}  // namespace prl
