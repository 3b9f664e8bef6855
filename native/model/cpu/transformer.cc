#include "model/cpu/transformer.h"

#include <algorithm>
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
namespace {

// Rows that run a chain of layers together: a multiple of the rows that the matrix product keeps in registers. The
// gradients of norms and biases are added up per block first, so its size is part of their rounding.
constexpr int64_t kRowBlock = 96;

void Copy(float* to, const float* from, int64_t n) {
  if (to != from) std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}

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
  if (operand.packed) return GemmCpu({rows, out, in, x, in, 1, nullptr, 0, 0, y, out, accumulate, operand.packed});
  ThinGemmCpu({rows, out, in, x, in, operand.f32, operand.bf16, y, out, accumulate});
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
    float* table = table_.Reserve(n * config.head_dim);
    ParallelRows(n, 256, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        for (int64_t i = 0; i < half; ++i) {
          const double angle = static_cast<double>(p) * static_cast<double>(config.inv_freq[static_cast<size_t>(i)]);
          table[p * config.head_dim + i] = static_cast<float>(std::cos(angle));
          table[p * config.head_dim + half + i] = static_cast<float>(std::sin(angle));
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
  Copy(mid, x, rows * c.hidden);
  Product(rows, c.q_width(), c.hidden, attended, layer.matrices.o, mid, true);
  RmsNormCpu({rows, c.hidden, mid, c.hidden, layer.vectors + layer.offsets.mlp_norm, c.norm_eps, normed, c.hidden});
  Product(rows, c.hidden, 2 * c.intermediate, normed, layer.matrices.gate_up, gate_up, false);
  if (!out) return;
  SwiGluCpu(rows, c.intermediate, gate_up, activated);
  Copy(out, mid, rows * c.hidden);
  Product(rows, c.intermediate, c.hidden, activated, layer.matrices.down, out, true);
}

// Positions of tokens and queries, and the maps between the two.
void Transformer::IndexRows(const PackedBatch& batch) {
  compact_ = batch.queries != batch.tokens;
  int32_t* positions = positions_.Reserve(batch.tokens);
  int32_t* query_positions = query_positions_.Reserve(batch.queries);
  int32_t* query_rows = query_rows_.Reserve(batch.queries);
  int32_t* query_of_row = query_of_row_.Reserve(batch.tokens);
  std::fill_n(from_start_.Reserve(batch.sequences), batch.sequences, 0);
  for (int64_t s = 0; s < batch.sequences; ++s) {
    const int64_t base = batch.PrefixLength(s);
    for (int32_t row = batch.cu_seqlens[s]; row < batch.cu_seqlens[s + 1]; ++row) {
      positions[row] = static_cast<int32_t>(base) + row - batch.cu_seqlens[s];
      query_of_row[row] = -1;
    }
    for (int32_t i = 0; i < batch.cu_queries[s + 1] - batch.cu_queries[s]; ++i) {
      const int32_t query = batch.cu_queries[s] + i, row = batch.cu_seqlens[s] + batch.query_begin[s] + i;
      query_positions[query] = positions[row];
      query_rows[query] = row;
      query_of_row[query_rows[query]] = query;
    }
  }
}

// Below the last layer every token is a query.
AttentionArgs Transformer::AttentionOf(const PackedBatch& batch, int64_t layer, const float* q, const float* kv,
                                       float* out, float* lse) {
  const ModelConfig& c = config_;
  const bool last = layer == c.layers - 1;
  return {batch.sequences,
          c.heads,
          c.kv_heads,
          c.head_dim,
          batch.cu_seqlens,
          last ? batch.cu_queries : batch.cu_seqlens,
          last ? batch.query_begin : from_start_.data(),
          batch.prefix,
          q,
          kv,
          out,
          lse};
}

Transformer::Kept& Transformer::KeptOf(int64_t layer) {
  const size_t index = keep_ == Keep::kAll ? static_cast<size_t>(layer) : 0;
  while (kept_.size() <= index) kept_.push_back(std::make_unique<Kept>());
  return *kept_[index];
}

float* Transformer::InputOf(int64_t layer, int64_t rows) {
  const size_t index = keep_ == Keep::kNothing ? 0 : static_cast<size_t>(layer);
  while (input_.size() <= index) input_.push_back(std::make_unique<Buffer<float>>());
  return input_[index]->Reserve(rows * config_.hidden);
}

// In float32, where rows of it are inputs of a layer.
const float* Transformer::EmbeddingTable(const Weights& weights) {
  if (weights.f32) return weights.f32 + layout_.embedding;
  const int64_t n = config_.vocab * config_.hidden;
  float* table = embedding_.Reserve(n);
  ParallelRows(n, 16384, [&](int64_t begin, int64_t end) {
    ConvertCpu(end - begin, DType::kBFloat16, weights.bf16 + layout_.embedding + begin, DType::kFloat32, table + begin);
  });
  return table;
}

// What the first layer computes before rope depends on the token alone, not on its place. Where the vocabulary is small
// beside the batch it is computed once per symbol: the same numbers, since rows do not depend on each other.
void Transformer::InputById(const LayerContext& layer, const float* x, const PackedBatch& batch, float* normed,
                            float* q, float* q_raw, float* kv, float* k_raw) {
  const ModelConfig& c = config_;
  float *q_of_id = q_of_id_.Reserve(c.vocab * c.q_width()), *kv_of_id = kv_of_id_.Reserve(c.vocab * c.kv_width());
  ParallelRows(c.vocab, kRowBlock, [&](int64_t begin, int64_t end) {
    LayerInputRows(layer, end - begin, x + begin * c.hidden, nullptr, normed + begin * c.hidden,
                   q_of_id + begin * c.q_width(), q_raw ? q_raw + begin * c.q_width() : nullptr,
                   kv_of_id + begin * c.kv_width(), k_raw ? k_raw + begin * c.k_width() : nullptr);
  });
  ParallelRows(batch.tokens, kRowBlock, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    EmbeddingCpu(n, c.q_width(), q_of_id, batch.ids + begin, q + begin * c.q_width());
    EmbeddingCpu(n, c.kv_width(), kv_of_id, batch.ids + begin, kv + begin * c.kv_width());
    RopeCpu(
        {n, c.heads, c.head_dim, q + begin * c.q_width(), c.q_width(), positions_.data() + begin, layer.rope, false});
    RopeCpu({n, c.kv_heads, c.head_dim, kv + begin * c.kv_width(), c.kv_width(), positions_.data() + begin, layer.rope,
             false});
  });
}

void Transformer::RunLayer(const Weights& weights, const PackedBatch& batch, int64_t l, float* x, float* out,
                           const KvSink* sink) {
  const ModelConfig& c = config_;
  const bool last = l == c.layers - 1, compact = compact_ && last, keep = keep_ != Keep::kNothing;
  const int64_t tokens = batch.tokens, rows = last ? batch.queries : tokens;
  const LayerOffsets& offsets = layout_.layers[static_cast<size_t>(l)];
  float* packed = packed_.Reserve(PackedLayerFloats(c, PackFor::kForward));
  const LayerContext layer{c, offsets, weights.vectors, PackLayer(c, offsets, weights, PackFor::kForward, packed),
                           rope_.Get(c, 0)};
  Kept& kept = KeptOf(l);
  float* q = kept.q.Reserve(rows * c.q_width());
  float* kv = kept.kv.Reserve(tokens * c.kv_width());
  float* q_raw = keep && c.qk_norm ? kept.q_raw.Reserve(rows * c.q_width()) : nullptr;
  float* k_raw = keep && c.qk_norm ? kept.k_raw.Reserve(tokens * c.k_width()) : nullptr;
  float *normed = normed_.Reserve(tokens * c.hidden), *activated = activated_.Reserve(tokens * c.intermediate);
  if (l == 0 && by_id_) {
    InputById(layer, EmbeddingTable(weights), batch, normed, q, q_raw, kv, k_raw);
  } else {
    ParallelRows(tokens, kRowBlock, [&](int64_t begin, int64_t end) {
      LayerInputRows(layer, end - begin, x + begin * c.hidden, positions_.data() + begin, normed + begin * c.hidden,
                     compact ? nullptr : q + begin * c.q_width(), q_raw ? q_raw + begin * c.q_width() : nullptr,
                     kv + begin * c.kv_width(), k_raw ? k_raw + begin * c.k_width() : nullptr);
    });
  }
  if (compact) {
    float* query_x = query_x_.Reserve(rows * c.hidden);
    ParallelRows(rows, kRowBlock, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        Copy(query_x + r * c.hidden, x + query_rows_.data()[r] * c.hidden, c.hidden);
      LayerInputRows(layer, end - begin, query_x + begin * c.hidden, query_positions_.data() + begin,
                     normed + begin * c.hidden, q + begin * c.q_width(), q_raw ? q_raw + begin * c.q_width() : nullptr,
                     nullptr, nullptr);
    });
    x = query_x;
  }
  if (sink) (*sink)(l, kv);

  float* attended = kept.attended.Reserve(rows * c.q_width());
  float* lse = keep ? kept.lse.Reserve(rows * c.heads) : nullptr;
  AttentionCpu(AttentionOf(batch, l, q, kv, attended, lse));

  float* mid = keep ? kept.mid.Reserve(rows * c.hidden) : x;
  float* gate_up = kept.gate_up.Reserve(rows * 2 * c.intermediate);
  ParallelRows(rows, kRowBlock, [&](int64_t begin, int64_t end) {
    LayerOutputRows(layer, end - begin, attended + begin * c.q_width(), x + begin * c.hidden, mid + begin * c.hidden,
                    normed + begin * c.hidden, gate_up + begin * 2 * c.intermediate, activated + begin * c.intermediate,
                    out ? out + begin * c.hidden : nullptr);
  });
}

const float* Transformer::Forward(const Weights& weights, const PackedBatch& batch, Keep keep, const KvSink* sink) {
  const ModelConfig& c = config_;
  const int64_t tokens = batch.tokens;
  keep_ = keep;
  IndexRows(batch);
  by_id_ = c.layers > 1 && 4 * c.vocab <= tokens;
  int64_t longest = 0;
  for (int64_t s = 0; s < batch.sequences; ++s) {
    longest = std::max<int64_t>(longest, batch.PrefixLength(s) + batch.cu_seqlens[s + 1] - batch.cu_seqlens[s]);
  }
  rope_.Get(c, longest);

  float* x = InputOf(0, tokens);
  ParallelRows(tokens, kRowBlock, [&](int64_t begin, int64_t end) {
    Embed(c, layout_, weights, end - begin, batch.ids + begin, x + begin * c.hidden);
  });
  for (int64_t l = 0; l < c.layers; ++l) {
    const bool last = l == c.layers - 1;
    float* out = last ? final_x_.Reserve(batch.queries * c.hidden) : InputOf(l + 1, tokens);
    RunLayer(weights, batch, l, x, out, sink);
    x = out;
  }
  float* hidden = hidden_.Reserve(batch.queries * c.hidden);
  ParallelRows(batch.queries, kRowBlock, [&](int64_t begin, int64_t end) {
    RmsNormCpu({end - begin, c.hidden, x + begin * c.hidden, c.hidden, weights.vectors + layout_.final_norm, c.norm_eps,
                hidden + begin * c.hidden, c.hidden});
  });
  return hidden;
}

namespace {

// d weight [out, in] += d_y^T x, over the rows.
void AddWeightGradient(int64_t rows, int64_t in, int64_t out, const float* d_y, const float* x, float* gradient) {
  GemmCpu({out, in, rows, d_y, 1, out, x, in, 1, gradient, in, true, nullptr});
}

}  // namespace

// Gradient of the layer's output (d_x_) -> of the stream after attention (d_mid_) and of attention's result
// (d_attended_).
void Transformer::BackwardOutput(const Weights& weights, const LayerOperands& matrices, int64_t layer, int64_t rows,
                                 float* gradients) {
  const ModelConfig& c = config_;
  const LayerOffsets& o = layout_.layers[static_cast<size_t>(layer)];
  Kept& kept = KeptOf(layer);
  const int64_t h = c.hidden, inner = c.intermediate, blocks = (rows + kRowBlock - 1) / kRowBlock;
  float *d_x = d_x_.data(), *d_mid = d_mid_.Reserve(rows * h), *d_attended = d_attended_.Reserve(rows * c.q_width());
  float *normed = normed_.data(), *d_normed = d_normed_.Reserve(rows * h), *activated = activated_.data();
  float *gate_up = kept.gate_up.data(), *mid = kept.mid.data(), *partial = partial_.Reserve(blocks * h);
  ParallelRows(rows, kRowBlock, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    float* d_norm_weight = partial + begin / kRowBlock * h;
    std::fill_n(d_norm_weight, h, 0.0f);
    Product(n, h, inner, d_x + begin * h, matrices.down, activated + begin * inner, false);
    SwiGluBackwardCpu(n, inner, gate_up + begin * 2 * inner, activated + begin * inner);
    Product(n, 2 * inner, h, gate_up + begin * 2 * inner, matrices.gate_up, d_normed + begin * h, false);
    RmsNormCpu({n, h, mid + begin * h, h, weights.vectors + o.mlp_norm, c.norm_eps, normed + begin * h, h});
    RmsNormBackwardCpu({n, h, mid + begin * h, h, weights.vectors + o.mlp_norm, c.norm_eps, d_normed + begin * h, h,
                        d_x + begin * h, h, d_mid + begin * h, h, d_norm_weight});
    Product(n, h, c.q_width(), d_mid + begin * h, matrices.o, d_attended + begin * c.q_width(), false);
  });
  AddColumnSumsCpu(blocks, h, partial, h, gradients + o.mlp_norm);
  AddWeightGradient(rows, inner, h, d_x, activated, gradients + o.down);
  AddWeightGradient(rows, h, 2 * inner, gate_up, normed, gradients + o.gate_up);
  AddWeightGradient(rows, c.q_width(), h, d_mid, kept.attended.data(), gradients + o.o);
}

namespace {

// Gradients of the norms and biases of a layer's input, per block of rows.
struct InputPartials {
  int64_t norm, q_norm, k_norm, q_bias, kv_bias, width;
  explicit InputPartials(const ModelConfig& c)
      : norm(0), q_norm(c.hidden), k_norm(q_norm + c.head_dim), q_bias(k_norm + c.head_dim),
        kv_bias(q_bias + c.q_width()), width(kv_bias + c.kv_width()) {}
};

// Back through rope (unless positions is null), the norm of the heads and the bias: `heads` heads in rows of `row`
// floats.
void BackwardHeads(const ModelConfig& c, int64_t rows, int64_t heads, float* d, int64_t row, const float* raw,
                   const float* norm_weight, const int32_t* positions, const float* rope, float* d_norm_weight) {
  if (positions) RopeCpu({rows, heads, c.head_dim, d, row, positions, rope, true});
  for (int64_t r = 0; c.qk_norm && r < rows; ++r) {
    RmsNormBackwardCpu({heads, c.head_dim, raw + r * heads * c.head_dim, c.head_dim, norm_weight, c.norm_eps,
                        d + r * row, c.head_dim, nullptr, 0, d + r * row, c.head_dim, d_norm_weight});
  }
}

}  // namespace

// The way back of InputById: gradients of queries, keys, values and the residual stream, turned back by rope and added
// up per symbol, which then stand for the rows of the layer's input.
Transformer::InputRows Transformer::RowsById(const Weights& weights, const PackedBatch& batch) {
  const ModelConfig& c = config_;
  const float* rope = rope_.Get(c, 0);
  ParallelRows(batch.tokens, kRowBlock, [&](int64_t begin, int64_t end) {
    const int32_t* positions = positions_.data() + begin;
    RopeCpu({end - begin, c.heads, c.head_dim, d_q_.data() + begin * c.q_width(), c.q_width(), positions, rope, true});
    RopeCpu({end - begin, c.kv_heads, c.head_dim, d_kv_.data() + begin * c.kv_width(), c.kv_width(), positions, rope,
             true});
  });
  const auto by_id = [&](int64_t width, const float* rows, Buffer<float>* into) {
    float* sums = into->Reserve(c.vocab * width);
    std::fill_n(sums, c.vocab * width, 0.0f);
    EmbeddingBackwardCpu(c.vocab, width, order_.data(), starts_.data(), rows, sums);
    return sums;
  };
  return {c.vocab,
          c.vocab,
          false,
          EmbeddingTable(weights),
          nullptr,
          by_id(c.q_width(), d_q_.data(), &q_of_id_),
          by_id(c.kv_width(), d_kv_.data(), &kv_of_id_),
          by_id(c.hidden, d_mid_.data(), &d_mid_of_id_)};
}

// Gradients of queries, keys, values and of the residual stream after attention -> of the layer's input (d_x_).
void Transformer::BackwardInput(const Weights& weights, const LayerOperands& matrices, int64_t layer,
                                const InputRows& in, float* gradients) {
  const ModelConfig& c = config_;
  const LayerOffsets& o = layout_.layers[static_cast<size_t>(layer)];
  const bool compact = in.compact;
  const int64_t tokens = in.tokens, queries = in.queries, h = c.hidden;
  const int64_t blocks = (tokens + kRowBlock - 1) / kRowBlock, query_blocks = (queries + kRowBlock - 1) / kRowBlock;
  const InputPartials at(c);
  float* partial = partial_.Reserve((blocks + query_blocks) * at.width);
  std::fill_n(partial, (blocks + query_blocks) * at.width, 0.0f);
  const float* rope = rope_.Get(c, 0);
  Kept& kept = KeptOf(layer);
  float *d_x = d_x_.Reserve(tokens * h), *normed = normed_.Reserve(tokens * h),
        *d_normed = d_normed_.Reserve(tokens * h);
  // When the queries are rows of their own: theirs.
  const float* query_x = compact ? query_x_.data() : in.x;
  float* query_normed = compact ? query_normed_.Reserve(queries * h) : normed;
  float* d_query_normed = compact ? d_query_normed_.Reserve(queries * h) : d_normed;
  const int32_t* query_positions = compact ? query_positions_.data() : in.positions;

  const auto query_part = [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin, width = c.q_width();
    float *sums = partial + (blocks + begin / kRowBlock) * at.width, *d = in.d_q + begin * width;
    BackwardHeads(c, n, c.heads, d, width, c.qk_norm ? kept.q_raw.data() + begin * width : nullptr,
                  weights.vectors + o.q_norm, query_positions ? query_positions + begin : nullptr, rope,
                  sums + at.q_norm);
    if (c.qkv_bias) AddColumnSumsCpu(n, width, d, width, sums + at.q_bias);
    Product(n, width, h, d, matrices.q, d_query_normed + begin * h, !compact);
  };
  if (compact) {
    ParallelRows(queries, kRowBlock, [&](int64_t begin, int64_t end) {
      RmsNormCpu({end - begin, h, query_x + begin * h, h, weights.vectors + o.input_norm, c.norm_eps,
                  query_normed + begin * h, h});
      query_part(begin, end);
    });
  }
  ParallelRows(tokens, kRowBlock, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin, width = c.kv_width();
    float *sums = partial + begin / kRowBlock * at.width, *d = in.d_kv + begin * width;
    const float* x = in.x + begin * h;
    BackwardHeads(c, n, c.kv_heads, d, width, c.qk_norm ? kept.k_raw.data() + begin * c.k_width() : nullptr,
                  weights.vectors + o.k_norm, in.positions ? in.positions + begin : nullptr, rope, sums + at.k_norm);
    if (c.qkv_bias) AddColumnSumsCpu(n, width, d, width, sums + at.kv_bias);
    Product(n, width, h, d, matrices.kv, d_normed + begin * h, false);
    if (compact) {
      ScatterQueries(begin, end, d_normed, d_x);
    } else {
      query_part(begin, end);
    }
    RmsNormCpu({n, h, x, h, weights.vectors + o.input_norm, c.norm_eps, normed + begin * h, h});
    RmsNormBackwardCpu({n, h, x, h, weights.vectors + o.input_norm, c.norm_eps, d_normed + begin * h, h,
                        (compact ? d_x : in.d_mid) + begin * h, h, d_x + begin * h, h, sums + at.norm});
  });
  const auto add_partial = [&](int64_t from, int64_t count, int64_t width, int64_t column, int64_t gradient) {
    AddColumnSumsCpu(count, width, partial + from * at.width + column, at.width, gradients + gradient);
  };
  add_partial(0, blocks, h, at.norm, o.input_norm);
  if (c.qkv_bias) {
    add_partial(0, blocks, c.kv_width(), at.kv_bias, o.kv_bias);
    add_partial(blocks, query_blocks, c.q_width(), at.q_bias, o.q_bias);
  }
  if (c.qk_norm) {
    add_partial(0, blocks, c.head_dim, at.k_norm, o.k_norm);
    add_partial(blocks, query_blocks, c.head_dim, at.q_norm, o.q_norm);
  }
  AddWeightGradient(queries, h, c.q_width(), in.d_q, query_normed, gradients + o.q);
  AddWeightGradient(tokens, h, c.kv_width(), in.d_kv, normed, gradients + o.kv);
}

// The queries' share of two gradients, to where the queries are among the tokens: added to d_normed, written to d_x.
void Transformer::ScatterQueries(int64_t begin, int64_t end, float* d_normed, float* d_x) {
  const int64_t h = config_.hidden;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t query = query_of_row_.data()[row];
    if (query < 0) {
      std::fill_n(d_x + row * h, h, 0.0f);
      continue;
    }
    Copy(d_x + row * h, d_mid_.data() + query * h, h);
    AddColumnSumsCpu(1, h, d_query_normed_.data() + query * h, h, d_normed + row * h);
  }
}

void Transformer::Backward(const Weights& weights, const PackedBatch& batch, const float* d_hidden, float* gradients) {
  const ModelConfig& c = config_;
  const int64_t h = c.hidden, queries = batch.queries, blocks = (queries + kRowBlock - 1) / kRowBlock;
  float *d_x = d_x_.Reserve(batch.tokens * h), *partial = partial_.Reserve(blocks * h);
  ParallelRows(queries, kRowBlock, [&](int64_t begin, int64_t end) {
    float* d_norm_weight = partial + begin / kRowBlock * h;
    std::fill_n(d_norm_weight, h, 0.0f);
    RmsNormBackwardCpu({end - begin, h, final_x_.data() + begin * h, h, weights.vectors + layout_.final_norm,
                        c.norm_eps, d_hidden + begin * h, h, nullptr, 0, d_x + begin * h, h, d_norm_weight});
  });
  AddColumnSumsCpu(blocks, h, partial, h, gradients + layout_.final_norm);
  SortByIdCpu(batch.tokens, c.vocab, batch.ids, order_.Reserve(batch.tokens), starts_.Reserve(c.vocab + 1));
  for (int64_t l = c.layers - 1; l >= 0; --l) {
    const int64_t rows = l == c.layers - 1 ? queries : batch.tokens;
    float* x = InputOf(l, batch.tokens);
    // The last layer is the one that was run last: what it left is still there.
    if (keep_ == Keep::kInputs && l < c.layers - 1) RunLayer(weights, batch, l, x, nullptr, nullptr);
    Kept& kept = KeptOf(l);
    float* packed = packed_.Reserve(PackedLayerFloats(c, PackFor::kBackward));
    const LayerOperands matrices =
        PackLayer(c, layout_.layers[static_cast<size_t>(l)], weights, PackFor::kBackward, packed);
    BackwardOutput(weights, matrices, l, rows, gradients);
    AttentionBackwardCpu({AttentionOf(batch, l, kept.q.data(), kept.kv.data(), kept.attended.data(), kept.lse.data()),
                          d_attended_.data(), d_q_.Reserve(rows * c.q_width()),
                          d_kv_.Reserve(batch.tokens * c.kv_width())});
    const InputRows in = l == 0 && by_id_
                             ? RowsById(weights, batch)
                             : InputRows{batch.tokens,      rows,        rows != batch.tokens, x,
                                         positions_.data(), d_q_.data(), d_kv_.data(),         d_mid_.data()};
    BackwardInput(weights, matrices, l, in, gradients);
  }
  if (by_id_) {
    AddColumnSumsCpu(1, c.vocab * h, d_x_.data(), c.vocab * h, gradients + layout_.embedding);
    return;
  }
  EmbeddingBackwardCpu(c.vocab, h, order_.data(), starts_.data(), d_x_.data(), gradients + layout_.embedding);
}

}  // namespace prl
