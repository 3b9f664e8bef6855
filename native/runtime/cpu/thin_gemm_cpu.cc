#include "runtime/cpu/gemm.h"
#include "runtime/cpu/simd.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

// Registers: kColumns * kRows accumulators, kRows of A and one of B, of 32 with AVX-512 and 16 otherwise.
#if defined(PRL_ISA_avx512)
constexpr int kColumns = 6, kRows = 4;
#else
constexpr int kColumns = 4, kRows = 3;
#endif

// kM rows of A against kN columns of B.
template <int kM, int kN, typename T>
void Block(const ThinGemmArgs& g, const float* a, const T* b, float* c) {
  VF sum[kM][kN];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kN; ++j) sum[i][j] = VF{};
  }
  const auto add = [&](auto load_a, auto load_b) {
    VF row[kM];
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) row[i] = load_a(a + i * g.a_row);
#pragma GCC unroll 8
    for (int j = 0; j < kN; ++j) {
      const VF column = load_b(b + j * g.k);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i) sum[i][j] += row[i] * column;
    }
  };
  int64_t p = 0;
  for (; p + kLanes <= g.k; p += kLanes) {
    add([p](const float* row) { return Load(row + p); }, [p](const T* row) { return Load(row + p); });
  }
  if (p < g.k) {
    const int n = (int)(g.k - p);
    add([=](const float* row) { return LoadPartial(row + p, n, 0.0f); },
        [=](const T* row) { return LoadPartial(row + p, n, 0.0f); });
  }
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kN; ++j) {
      float* out = c + i * g.c_row + j;
      *out = g.accumulate ? *out + ReduceAdd(sum[i][j]) : ReduceAdd(sum[i][j]);
    }
  }
}

// All rows of A against kN columns: those stay in the nearest cache.
template <int kN, typename T>
void Columns(const ThinGemmArgs& g, const T* b, float* c) {
  int64_t i = 0;
  for (; i + kRows <= g.m; i += kRows) Block<kRows, kN>(g, g.a + i * g.a_row, b, c + i * g.c_row);
  for (; i + 2 <= g.m; i += 2) Block<2, kN>(g, g.a + i * g.a_row, b, c + i * g.c_row);
  for (; i < g.m; ++i) Block<1, kN>(g, g.a + i * g.a_row, b, c + i * g.c_row);
}

template <typename T>
void Product(const ThinGemmArgs& g, const T* b) {
  // About 256 kB of B per task.
  const int64_t groups = (g.n + kColumns - 1) / kColumns, grain = 65536 / (kColumns * g.k + 1) + 1;
  ParallelRows(groups, grain, [&](int64_t begin, int64_t end) {
    for (int64_t j = begin * kColumns; j < end * kColumns && j < g.n; j += kColumns) {
      if (j + kColumns <= g.n) {
        Columns<kColumns>(g, b + j * g.k, g.c + j);
      } else {
        for (int64_t l = j; l < g.n; ++l) Columns<1>(g, b + l * g.k, g.c + l);
      }
    }
  });
}

}  // namespace

void ThinGemmCpu(const ThinGemmArgs& g) {
  if (g.b_bf16) return Product(g, g.b_bf16);
  Product(g, g.b);
}

}  // namespace PRL_ISA
}  // namespace prl
