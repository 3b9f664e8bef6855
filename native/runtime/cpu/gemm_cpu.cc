#include "runtime/cpu/gemm.h"

#include "runtime/cpu/simd.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {

void GemmCpu(const GemmArgs& args) {
  ParallelFor(args.m, [&](int64_t i) {
    for (int64_t j = 0; j < args.n; ++j) {
      float sum = 0;
      for (int64_t p = 0; p < args.k; ++p) {
        const float b = args.packed_b ? args.packed_b[p * args.n + j] : args.b[p * args.b_row + j * args.b_col];
        sum += args.a[i * args.a_row + p * args.a_col] * b;
      }
      float* c = args.c + i * args.c_row + j;
      *c = args.accumulate ? *c + sum : sum;
    }
  });
}

int64_t PackedBSize(int64_t k, int64_t n) { return k * n; }

void PackB(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* packed) {
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t j = 0; j < n; ++j) packed[p * n + j] = b[p * b_row + j * b_col];
  }
}

}  // namespace PRL_ISA
}  // namespace prl
