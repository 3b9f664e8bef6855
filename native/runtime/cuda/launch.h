// Every CUDA call is checked; a failure becomes a Status with the error's name and what was being done.
#pragma once

#include <cuda_runtime.h>

#include "runtime/status.h"

#define PRL_CUDA_CHECK(expression)                                                                               \
  do {                                                                                                           \
    const cudaError_t prl_error_ = (expression);                                                                 \
    if (prl_error_ != cudaSuccess) {                                                                             \
      cudaGetLastError();                                                                                        \
      return ::prl::Error(::prl::Code::kCuda, "%s in %s: %s", cudaGetErrorName(prl_error_), #expression,         \
                          cudaGetErrorString(prl_error_));                                                       \
    }                                                                                                            \
  } while (0)

// After a kernel launch: `kernel` is its public name.
#define PRL_CUDA_CHECK_LAUNCH(kernel)                                                                            \
  do {                                                                                                           \
    const cudaError_t prl_error_ = cudaGetLastError();                                                           \
    if (prl_error_ != cudaSuccess) {                                                                             \
      return ::prl::Error(::prl::Code::kCuda, "%s when launching %s: %s", cudaGetErrorName(prl_error_), kernel,  \
                          cudaGetErrorString(prl_error_));                                                       \
    }                                                                                                            \
  } while (0)
