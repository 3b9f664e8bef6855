// CONTRACT of adamw: one optimizer step, and the norm that clipping needs.
//
//   g = gradient * gradient_scale          m += (1 - beta1) (g - m)          v = beta2 v + (1 - beta2) g^2
//   parameter = keep * parameter - step_size * m / (sqrt(v) / correction + epsilon)      (adamw_math.h names the rest)
//
// AdamWBFloat16: the parameter is stored in bfloat16, and the float32 value behind it (the master, which the steps go
// by) as 16 bits more: bits of the master = bits of the bfloat16 << 16, plus `low` as a signed number. So the bfloat16
// is the master rounded to nearest, ties away from 0, and both together take no more memory than the float32.
//
// parameter, gradient, m, v [n] float32, not overlapping. On the pool; the same bits for any number of threads:
// SumSquares adds in float64, in pieces of fixed length, so that no finite gradient overflows.
#pragma once

#include <cstdint>

#include "model/layers/adamw/adamw_math.h"
#include "runtime/cpu/isa.h"
#include "runtime/dtype.h"

namespace prl {

PRL_CPU_ENTRY(void, AdamWCpu,
              (const AdamWStep& step, int64_t n, const float* gradient, float* parameter, float* m, float* v),
              (step, n, gradient, parameter, m, v))
PRL_CPU_ENTRY(void, AdamWBFloat16Cpu,
              (const AdamWStep& step, int64_t n, const float* gradient, BFloat16* parameter, uint16_t* low, float* m,
               float* v),
              (step, n, gradient, parameter, low, m, v))
// Whether the step would leave parameters, m and v that are finite; it changes nothing. The parameter as one of the two
// above has it: the float32 one, or null and the bfloat16 one.
PRL_CPU_ENTRY(bool, AdamWStaysFiniteCpu,
              (const AdamWStep& step, int64_t n, const float* gradient, const float* parameter, const BFloat16* high,
               const uint16_t* low, const float* m, const float* v),
              (step, n, gradient, parameter, high, low, m, v))
// partial: scratch of SumSquaresPieces(n) doubles.
static inline int64_t SumSquaresPieces(int64_t n) { return (n + 16383) / 16384; }
PRL_CPU_ENTRY(double, SumSquaresCpu, (int64_t n, const float* x, double* partial), (n, x, partial))

}  // namespace prl
