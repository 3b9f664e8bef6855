// CONTRACT of convert: n values of one floating-point storage type to another, by float32; rounded to nearest, ties to
// even. A NaN stays a NaN. `from` and `to` do not overlap, and need not be aligned. Runs on the calling thread.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"
#include "runtime/dtype.h"

namespace prl {

PRL_CPU_ENTRY(void, ConvertCpu, (int64_t n, DType from_type, const void* from, DType to_type, void* to),
              (n, from_type, from, to_type, to))

}  // namespace prl
