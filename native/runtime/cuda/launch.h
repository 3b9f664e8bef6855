// Host side of a launch. Every CUDA call is checked; a failure becomes a Status with the error's name and what was
// being done.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "runtime/status.h"

#define PRL_CUDA_CHECK(expression)                                                              \
  do {                                                                                          \
    const cudaError_t prl_error_ = (expression);                                                \
    if (prl_error_ != cudaSuccess) return ::prl::CudaFailure(prl_error_, "in %s", #expression); \
  } while (0)

namespace prl {

// A failed CUDA call as an error; format and subject say what was being done. A fault of code that ran before is not
// blamed on the call that reports it. Clears the runtime's last error: it must not surface in a later call.
Status CudaFailure(cudaError_t error, const char* format, const char* subject);

struct LaunchShape {
  int64_t blocks;
  int threads;
  size_t shared_bytes = 0;  // dynamic shared memory of a block
  int cluster = 1;          // blocks of a cluster (compute capability 9.0 on); divides `blocks`
};

// 48 KB of dynamic shared memory is what a kernel gets without asking. This asks for all that a block of this GPU can
// have, once per kernel: the wish of one thread's launch must not take back another's.
Status CudaAllowSharedMemory(const void* kernel);

// What CUDA takes for a shape. It points to `attribute`.
inline cudaLaunchConfig_t LaunchConfig(void* stream, const LaunchShape& shape, cudaLaunchAttribute* attribute) {
  attribute->id = cudaLaunchAttributeClusterDimension;
  attribute->val.clusterDim.x = (unsigned)shape.cluster;
  attribute->val.clusterDim.y = attribute->val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3((unsigned)shape.blocks);
  config.blockDim = dim3((unsigned)shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attribute;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
  return config;
}

// Queues kernel(arguments...) on `stream`; `name` is the public name of what the user called. 0 blocks: nothing.
template <typename... Parameters, typename... Arguments>
Status Launch(const char* name, void* stream, const LaunchShape& shape, void (*kernel)(Parameters...),
              Arguments&&... arguments) {
  if (shape.blocks == 0) return Ok();
  if (shape.blocks > 2147483647)
    return Error(Code::kOutOfRange, "%s: %lld blocks are more than a grid holds", name, (long long)shape.blocks);
  if (shape.shared_bytes > 48 * 1024) PRL_RETURN_IF_ERROR(CudaAllowSharedMemory((const void*)kernel));
  cudaLaunchAttribute attribute;
  const cudaLaunchConfig_t config = LaunchConfig(stream, shape, &attribute);
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
  return error == cudaSuccess ? Ok() : CudaFailure(error, "when launching %s", name);
}

// What a launch is shaped by.
struct DeviceLimits {
  // 90 for 9.0: the GPU's, or that of the code it runs where this is lower. PTX of 8.0 on a GPU of 9.0 has no clusters.
  int compute_capability;
  int cluster;          // most blocks of a cluster: 1 where there are none
  int processors;       // streaming multiprocessors
  size_t shared_bytes;  // dynamic shared memory that one block can have
};
Status CudaLimits(DeviceLimits* limits);  // of the GPU in use; asked once

// Whether the GPU can run a cluster of the shape at all: a small part of a GPU (MIG) has too few processors for some.
// Asked once per kernel and shape.
Status CudaClusterFits(const void* kernel, const LaunchShape& shape, bool* fits);

}  // namespace prl
