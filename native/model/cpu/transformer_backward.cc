#include <algorithm>
#include <cstring>

#include "model/cpu/transformer.h"
#include "model/layers/bias/bias.h"
#include "model/layers/embedding/embedding.h"
#include "model/layers/rms_norm/rms_norm.h"
#include "model/layers/rope/rope.h"
#include "model/layers/swiglu/swiglu.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

// d weight [out, in] += d_y^T x, over the rows.
void AddWeightGradient(int64_t rows, int64_t in, int64_t out, const float* d_y, const float* x, float* gradient) {
  GemmCpu({out, in, rows, d_y, 1, out, x, in, 1, gradient, in, true, nullptr});
}

}  // namespace

// Gradient of the layer's output (buffers_.d_x) -> of the stream after attention (buffers_.d_mid) and of attention's
// result (buffers_.d_attended).
void Transformer::BackwardOutput(const Weights& weights, const LayerOperands& matrices, int64_t layer, int64_t rows,
                                 float* gradients) {
  const ModelConfig& c = config_;
  const LayerOffsets& o = layout_.layers[static_cast<size_t>(layer)];
  LayerBuffers& kept = LayerOf(layer);
  const int64_t h = c.hidden, inner = c.intermediate, blocks = (rows + kRowBlock - 1) / kRowBlock;
  float *d_x = buffers_.d_x.data(), *d_mid = buffers_.d_mid.data(), *d_attended = buffers_.d_attended.data();
  float *normed = buffers_.normed.data(), *d_normed = buffers_.d_normed.data(), *activated = buffers_.activated.data();
  float *gate_up = kept.gate_up.data(), *mid = kept.mid.data(), *partial = buffers_.partial.data();
  const OutputPartials at(c);
  ParallelRows(rows, kRowBlock, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    float* sums = partial + begin / kRowBlock * at.width;
    std::fill_n(sums, at.width, 0.0f);
    if (c.mlp_bias) AddColumnSumsCpu(n, h, d_x + begin * h, h, sums + at.down_bias);
    Product(n, h, inner, d_x + begin * h, matrices.down, activated + begin * inner, false);
    SwiGluBackwardCpu(n, inner, gate_up + begin * 2 * inner, activated + begin * inner);
    if (c.mlp_bias) {
      AddColumnSumsCpu(n, 2 * inner, gate_up + begin * 2 * inner, 2 * inner, sums + at.gate_up_bias);
    }
    Product(n, 2 * inner, h, gate_up + begin * 2 * inner, matrices.gate_up, d_normed + begin * h, false);
    RmsNormCpu({n, h, mid + begin * h, h, weights.vectors + o.mlp_norm, c.norm_eps, normed + begin * h, h});
    RmsNormBackwardCpu({n, h, mid + begin * h, h, weights.vectors + o.mlp_norm, c.norm_eps, d_normed + begin * h, h,
                        d_x + begin * h, h, d_mid + begin * h, h, sums + at.norm});
    if (c.o_bias) AddColumnSumsCpu(n, h, d_mid + begin * h, h, sums + at.o_bias);
    Product(n, h, c.q_width(), d_mid + begin * h, matrices.o, d_attended + begin * c.q_width(), false);
  });
  const auto add_partial = [&](int64_t width, int64_t column, int64_t gradient) {
    AddColumnSumsCpu(blocks, width, partial + column, at.width, gradients + gradient);
  };
  add_partial(h, at.norm, o.mlp_norm);
  if (c.o_bias) add_partial(h, at.o_bias, o.o_bias);
  if (c.mlp_bias) {
    add_partial(h, at.down_bias, o.down_bias);
    add_partial(2 * inner, at.gate_up_bias, o.gate_up_bias);
  }
  AddWeightGradient(rows, inner, h, d_x, activated, gradients + o.down);
  AddWeightGradient(rows, h, 2 * inner, gate_up, normed, gradients + o.gate_up);
  AddWeightGradient(rows, c.q_width(), h, d_mid, kept.attended.data(), gradients + o.o);
}

namespace {

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
    const int32_t* positions = buffers_.positions.data() + begin;
    RopeCpu({end - begin, c.heads, c.head_dim, buffers_.d_q.data() + begin * c.q_width(), c.q_width(), positions, rope,
             true});
    RopeCpu({end - begin, c.kv_heads, c.head_dim, buffers_.d_kv.data() + begin * c.kv_width(), c.kv_width(), positions,
             rope, true});
  });
  const auto by_id = [&](int64_t width, const float* rows, Buffer<float>* into) {
    float* sums = into->data();
    std::fill_n(sums, c.vocab * width, 0.0f);
    EmbeddingBackwardCpu(c.vocab, width, buffers_.order.data(), buffers_.starts.data(), rows, sums);
    return sums;
  };
  return {c.vocab,
          c.vocab,
          false,
          EmbeddingTable(weights),
          nullptr,
          by_id(c.q_width(), buffers_.d_q.data(), &buffers_.q_of_id),
          by_id(c.kv_width(), buffers_.d_kv.data(), &buffers_.kv_of_id),
          by_id(c.hidden, buffers_.d_mid.data(), &buffers_.d_mid_of_id)};
}

// Gradients of queries, keys, values and of the residual stream after attention -> of the layer's input (buffers_.d_x).
void Transformer::BackwardInput(const Weights& weights, const LayerOperands& matrices, int64_t layer,
                                const InputRows& in, float* gradients) {
  const ModelConfig& c = config_;
  const LayerOffsets& o = layout_.layers[static_cast<size_t>(layer)];
  const bool compact = in.compact;
  const int64_t tokens = in.tokens, queries = in.queries, h = c.hidden;
  const int64_t blocks = (tokens + kRowBlock - 1) / kRowBlock, query_blocks = (queries + kRowBlock - 1) / kRowBlock;
  const InputPartials at(c);
  float* partial = buffers_.partial.data();
  std::fill_n(partial, (blocks + query_blocks) * at.width, 0.0f);
  const float* rope = rope_.Get(c, 0);
  LayerBuffers& kept = LayerOf(layer);
  float *d_x = buffers_.d_x.data(), *normed = buffers_.normed.data(), *d_normed = buffers_.d_normed.data();
  // When the queries are rows of their own: theirs.
  const float* query_x = compact ? buffers_.query_x.data() : in.x;
  float* query_normed = compact ? buffers_.query_normed.data() : normed;
  float* d_query_normed = compact ? buffers_.d_query_normed.data() : d_normed;
  const int32_t* query_positions = compact ? buffers_.query_positions.data() : in.positions;

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
    const int64_t query = buffers_.query_of_row.data()[row];
    if (query < 0) {
      std::fill_n(d_x + row * h, h, 0.0f);
      continue;
    }
    Copy(d_x + row * h, buffers_.d_mid.data() + query * h, h);
    AddColumnSumsCpu(1, h, buffers_.d_query_normed.data() + query * h, h, d_normed + row * h);
  }
}

void Transformer::Backward(const Weights& weights, const PackedBatch& batch, const float* d_hidden, float* gradients) {
  const ModelConfig& c = config_;
  const int64_t h = c.hidden, queries = batch.queries, blocks = (queries + kRowBlock - 1) / kRowBlock;
  float *d_x = buffers_.d_x.data(), *partial = buffers_.partial.data();
  ParallelRows(queries, kRowBlock, [&](int64_t begin, int64_t end) {
    float* d_norm_weight = partial + begin / kRowBlock * h;
    std::fill_n(d_norm_weight, h, 0.0f);
    RmsNormBackwardCpu({end - begin, h, buffers_.final_x.data() + begin * h, h, weights.vectors + layout_.final_norm,
                        c.norm_eps, d_hidden + begin * h, h, nullptr, 0, d_x + begin * h, h, d_norm_weight});
  });
  AddColumnSumsCpu(blocks, h, partial, h, gradients + layout_.final_norm);
  SortByIdCpu(batch.tokens, c.vocab, batch.ids, buffers_.order.data(), buffers_.starts.data());
  for (int64_t l = c.layers - 1; l >= 0; --l) {
    const int64_t rows = l == c.layers - 1 ? queries : batch.tokens;
    float* x = InputOf(l);
    // The last layer is the one that was run last: what it left is still there.
    if (shape_.keep == Keep::kInputs && l < c.layers - 1) RunLayer(weights, batch, l, x, nullptr, nullptr);
    LayerBuffers& kept = LayerOf(l);
    float* packed = buffers_.packed.data();
    const LayerOperands matrices =
        PackLayer(c, layout_.layers[static_cast<size_t>(l)], weights, PackFor::kBackward, packed);
    BackwardOutput(weights, matrices, l, rows, gradients);
    AttentionBackwardCpu({AttentionOf(batch, l, kept.q.data(), kept.kv.data(), kept.attended.data(), kept.lse.data()),
                          buffers_.d_attended.data(), buffers_.d_q.data(), buffers_.d_kv.data()});
    const InputRows in = l == 0 && shape_.by_id ? RowsById(weights, batch)
                                                : InputRows{batch.tokens,
                                                            rows,
                                                            rows != batch.tokens,
                                                            x,
                                                            buffers_.positions.data(),
                                                            buffers_.d_q.data(),
                                                            buffers_.d_kv.data(),
                                                            buffers_.d_mid.data()};
    BackwardInput(weights, matrices, l, in, gradients);
  }
  if (shape_.by_id) {
    AddColumnSumsCpu(1, c.vocab * h, buffers_.d_x.data(), c.vocab * h, gradients + layout_.embedding);
    return;
  }
  EmbeddingBackwardCpu(c.vocab, h, buffers_.order.data(), buffers_.starts.data(), buffers_.d_x.data(),
                       gradients + layout_.embedding);
}

}  // namespace prl
