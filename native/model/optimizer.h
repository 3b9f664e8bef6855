// What an optimizer step is asked for, and the numbers that the arithmetic takes of it (adamw_math.h).
#pragma once

#include <cstdint>

#include "model/layers/adamw/adamw_math.h"

namespace prl {

struct OptimizerParams {
  double learning_rate, weight_decay, beta1, beta2, epsilon;
  double max_grad_norm;  // infinity: no clipping
};

// Step number `steps` (from 1) of a parameter, `norm` the global one before clipping.
AdamWStep StepOf(const OptimizerParams& params, int64_t steps, double norm, bool decays);

}  // namespace prl
