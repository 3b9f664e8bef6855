// CONTRACT of swiglu (Shazeer, arXiv 2002.05202):   out = silu(gate) up,   silu(g) = g / (1 + e^-g)
//
//   gate_up [rows, 2 * width] float32: a row holds its gates, then its ups; out [rows, width]
//   Backward, in place: gate_up becomes d gate, d up; d_out becomes out, which the weight gradient of the next product
//   needs (so that the forward pass need not keep it).
// Runs on the calling thread; elements are independent.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

PRL_CPU_ENTRY(void, SwiGluCpu, (int64_t rows, int64_t width, const float* gate_up, float* out),
              (rows, width, gate_up, out))
PRL_CPU_ENTRY(void, SwiGluBackwardCpu, (int64_t rows, int64_t width, float* gate_up, float* d_out),
              (rows, width, gate_up, d_out))

}  // namespace prl
