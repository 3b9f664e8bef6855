#include "model/layers/embedding/embedding.h"

#include <cstring>

#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {

void EmbeddingCpu(int64_t rows, int64_t width, const float* table, const int32_t* ids, float* out) {
  for (int64_t r = 0; r < rows; ++r) memcpy(out + r * width, table + ids[r] * width, (size_t)width * sizeof(float));
}

// Counting sort, stable.
void SortByIdCpu(int64_t rows, int64_t vocab, const int32_t* ids, int32_t* order, int32_t* starts) {
  memset(starts, 0, (size_t)(vocab + 1) * sizeof(int32_t));
  for (int64_t r = 0; r < rows; ++r) ++starts[ids[r] + 1];
  for (int64_t v = 0; v < vocab; ++v) starts[v + 1] += starts[v];
  for (int64_t r = 0; r < rows; ++r) order[starts[ids[r]]++] = (int32_t)r;
  for (int64_t v = vocab; v > 0; --v) starts[v] = starts[v - 1];
  starts[0] = 0;
}

void EmbeddingBackwardCpu(int64_t vocab, int64_t width, const int32_t* order, const int32_t* starts, const float* d_out,
                          float* d_table) {
  // Most ids of a large vocabulary have no token: many of them per piece. Those of a small one have many: a piece each.
  const int64_t ids_per_task = vocab / 1024 + 1;
  ParallelRows(vocab, ids_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      float* __restrict sum = d_table + v * width;
      for (int32_t k = starts[v]; k < starts[v + 1]; ++k) {
        const float* __restrict row = d_out + order[k] * width;
        for (int64_t i = 0; i < width; ++i) sum[i] += row[i];
      }
    }
  });
}

}  // namespace PRL_ISA
}  // namespace prl
