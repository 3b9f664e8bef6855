// PRL_HD marks the functions that decide a number: compiled for the CPU skeletons and for the CUDA skeletons alike.
#pragma once

#if defined(__CUDACC__)
#define PRL_HD __host__ __device__ inline
#else
#define PRL_HD static inline __attribute__((always_inline))
#endif
