#include "model/layers/bias/bias.h"

namespace prl {
namespace PRL_ISA {

void AddBiasCpu(int64_t rows, int64_t width, float* x, int64_t x_row, const float* bias) {
  for (int64_t r = 0; r < rows; ++r) {
    float* __restrict row = x + r * x_row;
    for (int64_t i = 0; i < width; ++i) row[i] += bias[i];
  }
}

void AddColumnSumsCpu(int64_t rows, int64_t width, const float* x, int64_t x_row, float* sums) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* __restrict row = x + r * x_row;
    for (int64_t i = 0; i < width; ++i) sums[i] += row[i];
  }
}

}  // namespace PRL_ISA
}  // namespace prl
