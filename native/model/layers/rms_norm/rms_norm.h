// CONTRACT of rms_norm (Zhang and Sennrich, arXiv 1910.07467), each row on its own:
//
//   s = 1 / sqrt(mean(x^2) + eps)      y = x s weight
//   g = dy weight                      dx = base + s g - x s^3 mean(g x)        d_weight += sum over rows of dy x s
//
//   x, y, dy, dx [rows, width] float32, rows x_row, y_row, ... apart; weight, d_weight [width]
//   y may be x; dx may be base or dy. base null counts as 0. The backward pass needs nothing saved but x.
// Runs on the calling thread; a row's result does not depend on the other rows. d_weight adds the rows in order.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

struct RmsNormArgs {
  int64_t rows, width;
  const float* x;
  int64_t x_row;
  const float* weight;
  float eps;
  float* y;
  int64_t y_row;
};

struct RmsNormBackwardArgs {
  int64_t rows, width;
  const float* x;
  int64_t x_row;
  const float* weight;
  float eps;
  const float* dy;
  int64_t dy_row;
  const float* base;
  int64_t base_row;
  float* dx;
  int64_t dx_row;
  float* d_weight;
};

PRL_CPU_ENTRY(void, RmsNormCpu, (const RmsNormArgs& args), (args))
PRL_CPU_ENTRY(void, RmsNormBackwardCpu, (const RmsNormBackwardArgs& args), (args))

}  // namespace prl
