#include "model/quantile_head.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/layers/adamw/adamw.h"
#include "model/layers/bias/bias.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

enum : size_t { kWeight1, kBias1, kWeight2, kBias2, kMean, kDeviation };

constexpr int64_t kChunk = 1024;  // rows at once: bounds the scratch

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// out [rows, n] = x [rows, k] . weight [n, k] transposed + bias
void Linear(int64_t rows, int64_t n, int64_t k, const float* x, const float* weight, const float* bias, float* out) {
  GemmCpu({rows, n, k, x, k, 1, weight, 1, k, out, n, false, nullptr});
  AddBiasCpu(rows, n, out, n, bias);
}

// d weight [n, k] += d_out [rows, n] transposed . x [rows, k], and d bias.
void AddLinearGradients(int64_t rows, int64_t n, int64_t k, const float* d_out, const float* x, float* d_weight,
                        float* d_bias) {
  GemmCpu({n, k, rows, d_out, 1, n, x, k, 1, d_weight, k, true, nullptr});
  AddColumnSumsCpu(rows, n, d_out, n, d_bias);
}

template <typename F>
void ForElements(int64_t n, const F& f) {
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

}  // namespace

QuantileHead::QuantileHead(int64_t hidden_size, int64_t feature_count, int64_t hidden_width, std::vector<double> levels)
    : hidden(hidden_size), features(feature_count), width(hidden_width), quantiles(std::move(levels)) {
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    Parameter p{name, std::move(shape), size_, 1};
    for (int64_t n : p.shape) p.size *= n;
    size_ += (p.size + 15) / 16 * 16;
    parameters_.push_back(std::move(p));
  };
  add("hidden.weight", {width, inputs()});
  add("hidden.bias", {width});
  add("output.weight", {outputs(), width});
  add("output.bias", {outputs()});
  trained_ = size_;
  add("features.mean", {features});
  add("features.deviation", {features});
  values_.Zeros(size_);
  std::fill_n(values_.data() + parameters_[kDeviation].offset, features, 1.0f);
}

const Parameter* QuantileHead::Find(const std::string& name) const {
  for (const Parameter& p : parameters_) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

float* QuantileHead::Values(Arena arena) {
  switch (arena) {
    case Arena::kValues: return values_.data();
    case Arena::kGradients: return has_gradients_ ? gradients_.data() : nullptr;
    case Arena::kMoment1: return has_moments_ ? moment1_.data() : nullptr;
    case Arena::kMoment2: return has_moments_ ? moment2_.data() : nullptr;
    case Arena::kMaster: break;  // its values are float32 themselves
  }
  return nullptr;
}

void QuantileHead::ForwardRows(const HeadRows& in, int64_t begin, int64_t n, float* p) {
  float *x = x_.Reserve(n * inputs()), *before = before_.Reserve(n * width), *after = after_.Reserve(n * width);
  const float *mean = at(kMean), *deviation = at(kDeviation);
  for (int64_t r = 0; r < n; ++r) {
    float* row = x + r * inputs();
    std::memcpy(row, in.hidden + (begin + r) * hidden, static_cast<size_t>(hidden) * sizeof(float));
    for (int64_t f = 0; f < features; ++f)
      row[hidden + f] = (in.features[(begin + r) * features + f] - mean[f]) / deviation[f];
  }
  Linear(n, width, inputs(), x, at(kWeight1), at(kBias1), before);
  ForElements(n * width, [&](int64_t i) { after[i] = before[i] * Sigmoid(before[i]); });
  Linear(n, outputs(), width, after, at(kWeight2), at(kBias2), p);
  ForElements(n * outputs(), [&](int64_t i) { p[i] = Sigmoid(p[i]); });
}

void QuantileHead::Forward(const HeadRows& in, float* p) {
  for (int64_t begin = 0; begin < in.rows; begin += kChunk) {
    ForwardRows(in, begin, std::min(kChunk, in.rows - begin), p + begin * outputs());
  }
}

void QuantileHead::ClearGradients() {
  std::memset(gradients_.Reserve(trained_), 0, static_cast<size_t>(trained_) * sizeof(float));
  has_gradients_ = true;
}

Status QuantileHead::AddGradients(const HeadRows& in, const float* targets, double norm_rows, double* loss,
                                  float* d_hidden) {
  *loss = 0.0;
  for (int64_t begin = 0; begin < in.rows; begin += kChunk) {
    const int64_t n = std::min(kChunk, in.rows - begin);
    float *p = p_.Reserve(n * outputs()), *d_p = d_p_.Reserve(n * outputs()), *d_after = d_after_.Reserve(n * width);
    ForwardRows(in, begin, n, p);
    double part = 0.0;
    QuantileLossArgs args{};
    args.rows = n;
    args.quantiles = static_cast<int32_t>(outputs());
    std::copy(quantiles.begin(), quantiles.end(), args.level);
    args.values = p;
    args.targets = targets + begin;
    args.norm_rows = norm_rows;
    args.d_values = d_p;
    args.loss = &part;
    PRL_RETURN_IF_ERROR(QuantileLossCpu(args));
    *loss += part;
    ForElements(n * outputs(), [&](int64_t i) { d_p[i] *= p[i] * (1.0f - p[i]); });
    AddLinearGradients(n, outputs(), width, d_p, after_.data(), gradient(kWeight2), gradient(kBias2));
    GemmCpu({n, width, outputs(), d_p, outputs(), 1, at(kWeight2), width, 1, d_after, width, false, nullptr});
    const float* before = before_.data();
    ForElements(n * width, [&](int64_t i) {
      const float s = Sigmoid(before[i]);
      d_after[i] *= s * (1.0f + before[i] * (1.0f - s));
    });
    AddLinearGradients(n, width, inputs(), d_after, x_.data(), gradient(kWeight1), gradient(kBias1));
    if (d_hidden) {
      GemmCpu({n, hidden, width, d_after, width, 1, at(kWeight1), inputs(), 1, d_hidden + begin * hidden, hidden, false,
               nullptr});
    }
  }
  return Ok();
}

double QuantileHead::SumSquaresOfGradients() {
  return SumSquaresCpu(trained_, gradients_.data(), partial_.Reserve(SumSquaresPieces(trained_)));
}

void QuantileHead::MakeMoments() {
  if (has_moments_) return;
  moment1_.Zeros(trained_);
  moment2_.Zeros(trained_);
  has_moments_ = true;
}

bool QuantileHead::StaysFinite(const OptimizerParams& params, double norm) {
  MakeMoments();
  for (size_t i = kWeight1; i <= kBias2; ++i) {
    const Parameter& p = parameters_[i];
    if (!AdamWStaysFiniteCpu(StepOf(params, steps_ + 1, norm, p.matrix()), p.size, gradients_.data() + p.offset,
                             values_.data() + p.offset, nullptr, nullptr, moment1_.data() + p.offset,
                             moment2_.data() + p.offset)) {
      return false;
    }
  }
  return true;
}

void QuantileHead::Step(const OptimizerParams& params, double norm) {
  MakeMoments();
  ++steps_;
  for (size_t i = kWeight1; i <= kBias2; ++i) {
    const Parameter& p = parameters_[i];
    AdamWCpu(StepOf(params, steps_, norm, p.matrix()), p.size, gradients_.data() + p.offset, values_.data() + p.offset,
             moment1_.data() + p.offset, moment2_.data() + p.offset);
  }
}

}  // namespace prl
