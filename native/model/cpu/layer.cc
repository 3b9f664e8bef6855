#include "model/cpu/layer.h"

#include <cmath>
#include <cstring>

#include "model/layers/bias/bias.h"
#include "model/layers/embedding/embedding.h"
#include "model/layers/rms_norm/rms_norm.h"
#include "model/layers/rope/rope.h"
#include "model/layers/swiglu/swiglu.h"
#include "runtime/cpu/convert.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
void Copy(float* to, const float* from, int64_t n) {
  if (to != from) std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

namespace {

struct Matrix {
  int64_t offset, out, in;
};
struct LayerMatrices {
  Matrix q, kv, o, gate_up, down;
};
LayerMatrices MatricesOf(const ModelConfig& c, const LayerOffsets& o) {
  return {{o.q, c.q_width(), c.hidden},
          {o.kv, c.kv_width(), c.hidden},
          {o.o, c.hidden, c.q_width()},
          {o.gate_up, 2 * c.intermediate, c.hidden},
          {o.down, c.hidden, c.intermediate}};
}

int64_t PackedFloats(const Matrix& m, PackFor direction) {
  const int64_t n = direction == PackFor::kForward ? PackedBSize(m.in, m.out) : PackedBSize(m.out, m.in);
  return (n + 15) / 16 * 16;
}

}  // namespace

int64_t PackedLayerFloats(const ModelConfig& config, PackFor direction) {
  const LayerMatrices m = MatricesOf(config, LayerOffsets{});
  int64_t floats = 0;
  for (const Matrix& matrix : {m.q, m.kv, m.o, m.gate_up, m.down}) floats += PackedFloats(matrix, direction);
  return floats;
}

void Product(int64_t rows, int64_t in, int64_t out, const float* x, const Operand& operand, float* y, bool accumulate) {
  GemmCpu({rows, out, in, x, in, 1, operand.f32, 1, in, y, out, accumulate, operand.packed, operand.bf16});
}

Operand InPlace(const Weights& weights, int64_t offset) {
  return {nullptr, weights.f32 ? weights.f32 + offset : nullptr, weights.bf16 ? weights.bf16 + offset : nullptr};
}

LayerOperands LayerInPlace(const LayerOffsets& o, const Weights& weights) {
  return {InPlace(weights, o.q), InPlace(weights, o.kv), InPlace(weights, o.o), InPlace(weights, o.gate_up),
          InPlace(weights, o.down)};
}

void Embed(const ModelConfig& config, const Layout& layout, const Weights& weights, int64_t n, const int32_t* ids,
           float* x) {
  if (weights.f32) return EmbeddingCpu(n, config.hidden, weights.f32 + layout.embedding, ids, x);
  for (int64_t r = 0; r < n; ++r) {
    ConvertCpu(config.hidden, DType::kBFloat16, weights.bf16 + layout.embedding + ids[r] * config.hidden,
               DType::kFloat32, x + r * config.hidden);
  }
}

LayerOperands PackLayer(const ModelConfig& config, const LayerOffsets& layer, const Weights& weights, PackFor direction,
                        float* into) {
  const LayerMatrices m = MatricesOf(config, layer);
  const Matrix matrices[5] = {m.q, m.kv, m.o, m.gate_up, m.down};
  float* places[5];
  for (int i = 0; i < 5; ++i) {
    places[i] = into;
    into += PackedFloats(matrices[i], direction);
  }
  for (int i = 0; i < 5; ++i) {
    const Matrix& w = matrices[i];
    // Forward: y = x W^T, so B is W^T [in, out]. Backward: dx = dy W, so B is W [out, in].
    const bool forward = direction == PackFor::kForward;
    const int64_t k = forward ? w.in : w.out, n = forward ? w.out : w.in, row = forward ? 1 : w.in,
                  col = forward ? w.in : 1;
    if (weights.bf16) {
      PackBBFloat16(k, n, weights.bf16 + w.offset, row, col, places[i]);
    } else {
      PackB(k, n, weights.f32 + w.offset, row, col, places[i]);
    }
  }
  const auto packed = [&](int i) { return Operand{places[i], nullptr, nullptr}; };
  return {packed(0), packed(1), packed(2), packed(3), packed(4)};
}

const float* RopeTable::Get(const ModelConfig& config, int64_t positions) {
  if (positions > positions_) {
    const int64_t n = positions + positions / 2, half = config.head_dim / 2;
    positions_ = 0;  // should there be no memory
    float* table = table_.Reserve(Floats(config, positions));
    ParallelRows(n, 256, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        for (int64_t i = 0; i < half; ++i) {
          // Rounded to float32 where transformers rounds: the angle, its cosine and sine, and their product.
          const float angle = static_cast<float>(p) * config.inv_freq[static_cast<size_t>(i)];
          const double exact = static_cast<double>(angle);
          table[p * config.head_dim + i] = static_cast<float>(std::cos(exact)) * config.rope_factor;
          table[p * config.head_dim + half + i] = static_cast<float>(std::sin(exact)) * config.rope_factor;
        }
      }
    });
    positions_ = n;
  }
  return table_.data();
}

void LayerInputRows(const LayerContext& layer, int64_t rows, const float* x, const int32_t* positions, float* normed,
                    float* q, float* q_raw, float* kv, float* k_raw) {
  const ModelConfig& c = layer.config;
  const LayerOffsets& o = layer.offsets;
  const float* w = layer.vectors;
  RmsNormCpu({rows, c.hidden, x, c.hidden, w + o.input_norm, c.norm_eps, normed, c.hidden});
  if (q) {
    Product(rows, c.hidden, c.q_width(), normed, layer.matrices.q, q, false);
    if (c.qkv_bias) AddBiasCpu(rows, c.q_width(), q, c.q_width(), w + o.q_bias);
    if (c.qk_norm) {
      if (q_raw) Copy(q_raw, q, rows * c.q_width());
      RmsNormCpu({rows * c.heads, c.head_dim, q, c.head_dim, w + o.q_norm, c.norm_eps, q, c.head_dim});
    }
    if (positions) RopeCpu({rows, c.heads, c.head_dim, q, c.q_width(), positions, layer.rope, false});
  }
  if (kv) {
    Product(rows, c.hidden, c.kv_width(), normed, layer.matrices.kv, kv, false);
    if (c.qkv_bias) AddBiasCpu(rows, c.kv_width(), kv, c.kv_width(), w + o.kv_bias);
    if (c.qk_norm) {
      for (int64_t r = 0; r < rows; ++r) {
        float* k = kv + r * c.kv_width();
        if (k_raw) Copy(k_raw + r * c.k_width(), k, c.k_width());
        RmsNormCpu({c.kv_heads, c.head_dim, k, c.head_dim, w + o.k_norm, c.norm_eps, k, c.head_dim});
      }
    }
    if (positions) RopeCpu({rows, c.kv_heads, c.head_dim, kv, c.kv_width(), positions, layer.rope, false});
  }
}

void LayerOutputRows(const LayerContext& layer, int64_t rows, const float* attended, const float* x, float* mid,
                     float* normed, float* gate_up, float* activated, float* out) {
  const ModelConfig& c = layer.config;
  const LayerOffsets& o = layer.offsets;
  const float* w = layer.vectors;
  Copy(mid, x, rows * c.hidden);
  Product(rows, c.q_width(), c.hidden, attended, layer.matrices.o, mid, true);
  if (c.o_bias) AddBiasCpu(rows, c.hidden, mid, c.hidden, w + o.o_bias);
  RmsNormCpu({rows, c.hidden, mid, c.hidden, w + o.mlp_norm, c.norm_eps, normed, c.hidden});
  Product(rows, c.hidden, 2 * c.intermediate, normed, layer.matrices.gate_up, gate_up, false);
  if (c.mlp_bias) AddBiasCpu(rows, 2 * c.intermediate, gate_up, 2 * c.intermediate, w + o.gate_up_bias);
  if (!out) return;
  SwiGluCpu(rows, c.intermediate, gate_up, activated);
  Copy(out, mid, rows * c.hidden);
  Product(rows, c.intermediate, c.hidden, activated, layer.matrices.down, out, true);
  if (c.mlp_bias) AddBiasCpu(rows, c.hidden, out, c.hidden, w + o.down_bias);
}

}  // namespace prl
