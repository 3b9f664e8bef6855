// CONTRACT of rope, rotary position embedding (Su et al., arXiv 2104.09864) in the half-split form of Llama:
//
//   with a = x[i], b = x[i + head_dim / 2] of a head at position p, angle = p * inv_freq[i]:
//   a' = a cos - b sin        b' = b cos + a sin          inverse: the rotation back, which is also the gradient
//
//   x [rows, heads * head_dim] float32 in place, rows x_row apart; positions [rows] int32
//   table [positions, head_dim]: cosines of a position, then its sines
// Runs on the calling thread; rows are independent.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

struct RopeArgs {
  int64_t rows, heads, head_dim;
  float* x;
  int64_t x_row;
  const int32_t* positions;
  const float* table;
  bool inverse;
};

PRL_CPU_ENTRY(void, RopeCpu, (const RopeArgs& args), (args))

}  // namespace prl
