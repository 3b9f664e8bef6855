// Values from a place in a file straight into memory, converted on the way: read, not mapped, so that a file that is
// cut off meanwhile is an error and not a signal that ends the process.
#pragma once

#include <cstdint>

#include "runtime/dtype.h"
#include "runtime/status.h"

namespace prl {

// n values of `from_type` at `offset` of the open file `fd` -> `to`. In pieces, on the pool: beyond `to` it takes a few
// MB per thread.
Status ReadValues(int fd, int64_t offset, DType from_type, int64_t n, DType to_type, void* to);

}  // namespace prl
