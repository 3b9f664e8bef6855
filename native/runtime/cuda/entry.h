// Declares the CUDA skeleton of a kernel beside its CPU one, in its contract header:
//     PRL_CUDA_ENTRY(TokenLogprobCuda, (const TokenLogprobArgs& args, const CudaCall& call))
// In a build without CUDA it is a function that says so; no device tensor exists there, so nothing calls it.
#pragma once

#include "runtime/status.h"

namespace prl {

struct CudaCall;
Status NoCuda();

}  // namespace prl

#if defined(PRL_WITH_CUDA) || defined(__CUDACC__)
#define PRL_CUDA_ENTRY(name, parameters) Status name parameters;
#else
#define PRL_CUDA_ENTRY(name, parameters)     \
  template <typename... Any>                 \
  static inline Status name(const Any&...) { \
    return NoCuda();                         \
  }
#endif
