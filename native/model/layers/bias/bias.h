// CONTRACT of bias:  AddBias: x[r] += bias for each row.   AddColumnSums: sums += sum over rows of x[r], rows in order.
//
//   x [rows, width] float32, rows x_row apart; bias, sums [width]
// Runs on the calling thread. (AddColumnSums also adds up the partial sums that blocks of rows leave.)
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

PRL_CPU_ENTRY(void, AddBiasCpu, (int64_t rows, int64_t width, float* x, int64_t x_row, const float* bias),
              (rows, width, x, x_row, bias))
PRL_CPU_ENTRY(void, AddColumnSumsCpu, (int64_t rows, int64_t width, const float* x, int64_t x_row, float* sums),
              (rows, width, x, x_row, sums))

}  // namespace prl
