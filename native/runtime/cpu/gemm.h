// CONTRACT of the matrix products of the CPU:  C = A B  or  C += A B,  float32; B may be stored in bfloat16 (its values
// are used as they are: the same bits as with a float32 B that holds them).
//
//   A [m, k]: element (i, p) at a[i * a_row + p * a_col]      B [k, n]: element (p, j) at b[p * b_row + j * b_col]
//   C [m, n] row-major, row i at c + i * c_row (c_row >= n); C overlaps neither A nor B
//
// A transposed operand is a swap of its two strides. m, n or k may be 0 (k = 0 gives C = 0, or C unchanged).
// An element of C is one chain of fused multiply-adds over p in ascending order, cut at fixed multiples of p: it
// depends on its row of A and its column of B alone, not on m, n, the position in C or the number of threads. (So a
// sequence's numbers do not depend on what else is in the batch.)
// Parallel over the pool; inside a task of the pool it runs on that thread alone.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"
#include "runtime/dtype.h"

namespace prl {

struct GemmArgs {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_col;
  const float* b;  // ignored when packed_b is given
  int64_t b_row, b_col;
  float* c;
  int64_t c_row;
  bool accumulate;                   // false: C = A B; true: C += A B
  const float* packed_b;             // null, or B as PackB left it, for a B that is used many times
  const BFloat16* b_bf16 = nullptr;  // B, in place of b
};

PRL_CPU_ENTRY(void, GemmCpu, (const GemmArgs& args), (args))

// Floats that PackB writes for a B of this shape.
PRL_CPU_ENTRY(int64_t, PackedBSize, (int64_t k, int64_t n), (k, n))
PRL_CPU_ENTRY(void, PackB, (int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* packed),
              (k, n, b, b_row, b_col, packed))
PRL_CPU_ENTRY(void, PackBBFloat16,
              (int64_t k, int64_t n, const BFloat16* b, int64_t b_row, int64_t b_col, float* packed),
              (k, n, b, b_row, b_col, packed))

}  // namespace prl
