// CONTRACT of quantile_loss: predicted quantiles -> pinball loss (Koenker and Bassett, Econometrica 46, 1978) and its
// gradient.
//
//   e = target[r] - value[r][j]          rho_q(e) = max(q e, (q - 1) e)
//   loss = sum over r and j of rho_{q_j}(e) / (norm_rows * quantiles)
//   d value[r][j] = (1[e < 0] - q_j) / (norm_rows * quantiles)       at e = 0 each side gives half: 0.5 - q_j
//
// The minimum over all constants is the q-quantile of the targets: that is what a value learns to be. Values of a row
// are independent and may cross.
// norm_rows is that of the whole optimizer batch, so that micro-batches add up to the batch's loss and gradient.
// A value or a target that is not finite is named by its row; the gradient is then garbage.
// The arithmetic is in double. Sums run over the rows of a piece, then over the pieces, in order: the same bits for any
// number of threads.
#pragma once

#include <cstdint>

#include "runtime/cuda/entry.h"
#include "runtime/status.h"

namespace prl {

constexpr int kMaxQuantiles = 16;

struct QuantileLossArgs {
  int64_t rows;
  int32_t quantiles;            // 1 .. kMaxQuantiles
  double level[kMaxQuantiles];  // each above 0 and below 1
  const float* values;          // [rows, quantiles]
  const float* targets;         // [rows]
  double norm_rows;             // 0: `rows` (1 if there are none)
  float* d_values;              // [rows, quantiles] or null
  double* loss;                 // written on success
};

Status CheckQuantileLoss(const QuantileLossArgs& args);
// The factor of a term.
double QuantileWeight(const QuantileLossArgs& args);
Status BadQuantileValue(int64_t row, float value);
Status BadQuantileTarget(int64_t row, float target);

// A few numbers per row: compiled once, not per instruction set.
Status QuantileLossCpu(const QuantileLossArgs& args);

// Device pointers; queued, not run, when it returns (runtime/cuda/queue.h). One launch. The loss is the report's first
// value; args.loss is not used. The call's workspace holds QuantileLossBlocks(args) doubles.
int64_t QuantileLossBlocks(const QuantileLossArgs& args);
PRL_CUDA_ENTRY(QuantileLossCuda, (const QuantileLossArgs& args, const CudaCall& call))

}  // namespace prl
