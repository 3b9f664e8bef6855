// CONTRACT of the matrix product of the GPU:  C = A B  or  C += A B, through cuBLAS.
//
// All matrices are row-major in device memory:
//   A [m, k]: element (i, p) at a[i * a_row + p]; transpose_a: A is stored [k, m], element (i, p) at a[p * a_row + i]
//   B [k, n]: element (p, j) at b[p * b_row + j]; transpose_b: B is stored [n, k], element (p, j) at b[j * b_row + p]
//   C [m, n]: element (i, j) at c[i * c_row + j]; C overlaps neither A nor B
//
// A and B are both float32, bfloat16 or float16; C has their type or is float32. Products are summed in float32,
// float32 inputs are not rounded to anything shorter (no TF32), and partial sums are not rounded to a 16-bit C on the
// way.
// m, n or k may be 0 (k = 0 gives C = 0, or C unchanged). Every size and row length is below 2^31.
// Queued on the process's stream, with a workspace of its own: the same call gives the same bits. Another m may give
// other roundings, since cuBLAS chooses its method by the sizes.
//
// cuBLAS is not linked: the addon loads without it. It is looked for and started at the first product, or before it by
// StartCublas.
#pragma once

#include <cstdint>

#include "runtime/dtype.h"
#include "runtime/status.h"

namespace prl {

struct CudaGemmArgs {
  int64_t m, n, k;
  DType type;  // of A and B
  const void* a;
  int64_t a_row;
  bool transpose_a;
  const void* b;
  int64_t b_row;
  bool transpose_b;
  DType c_type;
  void* c;
  int64_t c_row;
  bool accumulate;  // false: C = A B, and C is not read; true: C += A B
};

// `kernel`: the public name of what the user called, for messages.
Status GemmCuda(const char* kernel, const CudaGemmArgs& args);

// Opens cuBLAS and makes its handle, which takes up to a second the first time.
Status StartCublas();

struct CublasLibrary {
  char path[1024];
  char version[32];
};
// Which cuBLAS there is, without starting it; fails with the one thing to do where there is none. Tried in this order:
// the file or folder in PRL_CUBLAS (then nothing else); the linker's own search; CUDA_HOME, CUDA_PATH, /usr/local/cuda;
// Python's nvidia-cublas package, in VIRTUAL_ENV, CONDA_PREFIX, the user's and the system's folders. Versions 13 and
// 12, not above the driver's.
Status FindCublas(CublasLibrary* library);

}  // namespace prl
