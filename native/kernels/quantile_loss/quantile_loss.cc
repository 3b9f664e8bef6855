#include "kernels/quantile_loss/quantile_loss.h"

#include <cmath>
#include <vector>

#include "kernels/quantile_loss/quantile_loss_math.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

constexpr int64_t kPieceRows = 1024;

double LossOfRow(const QuantileLossArgs& a, int64_t r, double weight) {
  double sum = 0.0;
  for (int64_t j = 0, i = r * a.quantiles; j < a.quantiles; ++j, ++i) {
    const double e = (double)a.targets[r] - (double)a.values[i];
    sum += Pinball(a.level[j], e);
    if (a.d_values) a.d_values[i] = (float)(weight * PinballGradient(a.level[j], e));
  }
  return sum;
}

Status CheckFinite(const QuantileLossArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t i = r * a.quantiles; i < (r + 1) * a.quantiles; ++i) {
      if (!std::isfinite(a.values[i])) return BadQuantileValue(r, a.values[i]);
    }
    if (!std::isfinite(a.targets[r])) return BadQuantileTarget(r, a.targets[r]);
  }
  return Ok();
}

}  // namespace

Status BadQuantileValue(int64_t row, float value) {
  return Error(Code::kNonFinite, "row %lld of values holds %g", (long long)row, value);
}
Status BadQuantileTarget(int64_t row, float target) {
  return Error(Code::kNonFinite, "targets[%lld] is %g", (long long)row, target);
}

Status CheckQuantileLoss(const QuantileLossArgs& a) {
  for (int32_t j = 0; j < a.quantiles; ++j) {
    if (!(a.level[j] > 0.0 && a.level[j] < 1.0))
      return Error(Code::kOutOfRange, "quantiles[%d] must be above 0 and below 1, not %g", j, a.level[j]);
  }
  if (!(a.norm_rows >= 0.0 && std::isfinite(a.norm_rows))) {
    return Error(Code::kOutOfRange, "normalizer.rows must be at least 0 and finite, not %g", a.norm_rows);
  }
  return Ok();
}

double QuantileWeight(const QuantileLossArgs& a) {
  const double rows = a.norm_rows > 0.0 ? a.norm_rows : a.rows > 0 ? (double)a.rows : 1.0;
  return 1.0 / (rows * (double)a.quantiles);
}

int64_t QuantileLossBlocks(const QuantileLossArgs& a) {
  const int64_t blocks = (a.rows + kPieceRows - 1) / kPieceRows;
  return blocks < 1 ? 1 : blocks < 256 ? blocks : 256;
}

Status QuantileLossCpu(const QuantileLossArgs& a) {
  PRL_RETURN_IF_ERROR(CheckQuantileLoss(a));
  PRL_RETURN_IF_ERROR(CheckFinite(a));
  const double weight = QuantileWeight(a);
  std::vector<double> pieces(static_cast<size_t>((a.rows + kPieceRows - 1) / kPieceRows));
  ParallelRows(a.rows, kPieceRows, [&](int64_t begin, int64_t end) {
    double sum = 0.0;
    for (int64_t r = begin; r < end; ++r) sum += LossOfRow(a, r, weight);
    pieces[static_cast<size_t>(begin / kPieceRows)] = sum;
  });
  double loss = 0.0;
  for (double piece : pieces) loss += piece;
  *a.loss = weight * loss;
  return Ok();
}

}  // namespace prl
