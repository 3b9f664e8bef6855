// The head of a process reward model: for the end of each reasoning step, quantiles of how likely a response is to end
// right that goes on from there.
//
//   x = [hidden state of the step's last token, (feature - mean) / deviation]
//   p = sigmoid(W2 silu(W1 x + b1) + b2)         one per quantile
//
// Trained on the pinball loss (kernels/quantile_loss). Knows nothing of where hidden states and features come from. A
// row's numbers depend on nothing but the row; gradients are added up in the order of the rows: the same bits for any
// number of threads.
#pragma once

#include <vector>

#include "kernels/quantile_loss/quantile_loss.h"
#include "model/optimizer.h"
#include "model/parameters.h"
#include "runtime/buffer.h"

namespace prl {

// Steps as the head reads them.
struct HeadRows {
  int64_t rows;
  const float* hidden;    // [rows, hidden]
  const float* features;  // [rows, features]
};

class QuantileHead {
 public:
  // features may be 0.
  QuantileHead(int64_t hidden, int64_t features, int64_t width, std::vector<double> quantiles);

  const int64_t hidden, features, width;
  const std::vector<double> quantiles;
  int64_t outputs() const { return static_cast<int64_t>(quantiles.size()); }

  // hidden.weight [width, hidden + features], hidden.bias, output.weight [quantiles, width], output.bias: trained;
  // after them features.mean and features.deviation [features], which are not.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter* Find(const std::string& name) const;
  // Null for gradients that were not computed and moments before the first step.
  float* Values(Arena arena);

  // p [rows, outputs]; they may cross.
  void Forward(const HeadRows& in, float* p);

  // Gradients of the loss over all rows of the optimizer batch: Clear, then Add for each part of it.
  void ClearGradients();
  // norm_rows: rows of the whole batch. d_hidden [rows, hidden] or null. Fails with kNonFinite for an output or target
  // that is not.
  Status AddGradients(const HeadRows& in, const float* targets, double norm_rows, double* loss, float* d_hidden);
  double SumSquaresOfGradients();
  // Whether the values and moments would be finite after Step; nothing changes.
  bool StaysFinite(const OptimizerParams& params, double norm);
  // One AdamW step, clipped as `norm`, the global norm of all that is clipped together, asks for.
  void Step(const OptimizerParams& params, double norm);

 private:
  int64_t inputs() const { return hidden + features; }
  const float* at(size_t parameter) const { return values_.data() + parameters_[parameter].offset; }
  float* gradient(size_t parameter) { return gradients_.data() + parameters_[parameter].offset; }
  void MakeMoments();
  // x [rows, inputs] -> before silu [rows, width], after it, p.
  void ForwardRows(const HeadRows& in, int64_t begin, int64_t n, float* p);

  std::vector<Parameter> parameters_;
  int64_t trained_ = 0, size_ = 0;  // floats of an arena: those of the trained parameters, and all
  int64_t steps_ = 0;
  bool has_gradients_ = false, has_moments_ = false;
  Buffer<float> values_, gradients_, moment1_, moment2_;
  Buffer<float> x_, before_, after_, p_, d_p_, d_after_;  // of one chunk of rows
  Buffer<double> partial_;
};

}  // namespace prl
