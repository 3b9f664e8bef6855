#pragma once

#include "binding/args.h"

namespace prl {

// The field `quantiles`: an array of numbers between 0 and 1, at most kMaxQuantiles. Returns how many.
int32_t ReadQuantiles(const Args& args, double* level);

}  // namespace prl
