// Host side of a launch. Every CUDA call is checked; a failure becomes a Status with the error's name and what was
// being done.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "runtime/status.h"

#define PRL_CUDA_CHECK(expression)                                                                       \
  do {                                                                                                   \
    const cudaError_t prl_error_ = (expression);                                                         \
    if (prl_error_ != cudaSuccess) {                                                                     \
      cudaGetLastError(); /* reported here; it must not surface in a later call */                       \
      return ::prl::Error(::prl::Code::kCuda, "%s in %s: %s", cudaGetErrorName(prl_error_), #expression, \
                          cudaGetErrorString(prl_error_));                                               \
    }                                                                                                    \
  } while (0)

namespace prl {

struct LaunchShape {
  int64_t blocks;
  int threads;
  size_t shared_bytes = 0;  // dynamic shared memory of a block
  int cluster = 1;          // blocks of a cluster (compute capability 9.0 on); divides `blocks`
};

// Queues kernel(arguments...) on `stream`; `name` is the public name of what the user called. 0 blocks: nothing.
template <typename... Parameters, typename... Arguments>
Status Launch(const char* name, void* stream, const LaunchShape& shape, void (*kernel)(Parameters...),
              Arguments&&... arguments) {
  if (shape.blocks == 0) return Ok();
  if (shape.blocks > 2147483647)
    return Error(Code::kOutOfRange, "%s: %lld blocks are more than a grid holds", name, (long long)shape.blocks);
  cudaError_t error = cudaSuccess;
  // 48 KB is what a kernel gets without asking.
  if (shape.shared_bytes > 48 * 1024) {
    error =
        cudaFuncSetAttribute((const void*)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shape.shared_bytes);
  }
  if (error == cudaSuccess) {
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = (unsigned)shape.cluster;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)shape.blocks);
    config.blockDim = dim3((unsigned)shape.threads);
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = &attribute;
    config.numAttrs = shape.cluster > 1 ? 1 : 0;
    error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
  }
  if (error == cudaSuccess) return Ok();
  cudaGetLastError();
  return Error(Code::kCuda, "%s when launching %s: %s", cudaGetErrorName(error), name, cudaGetErrorString(error));
}

// What a launch is shaped by.
struct DeviceLimits {
  int compute_capability;  // 90 for 9.0
  int processors;          // streaming multiprocessors
  size_t shared_bytes;     // dynamic shared memory that one block can have
};
Status CudaLimits(DeviceLimits* limits);  // of the GPU in use; asked once

}  // namespace prl
