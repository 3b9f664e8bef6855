#include "model/cpu/transformer.h"

#include <algorithm>
#include <cstring>

#include "model/layers/embedding/embedding.h"
#include "model/layers/rms_norm/rms_norm.h"
#include "model/layers/rope/rope.h"
#include "runtime/cpu/convert.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {

// Positions of tokens and queries, and the maps between the two.
void Transformer::IndexRows(const PackedBatch& batch) {
  int32_t* positions = buffers_.positions.data();
  int32_t* query_positions = buffers_.query_positions.data();
  int32_t* query_rows = buffers_.query_rows.data();
  int32_t* query_of_row = buffers_.query_of_row.data();
  std::fill_n(buffers_.from_start.data(), batch.sequences, 0);
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
          last ? batch.query_begin : buffers_.from_start.data(),
          batch.prefix,
          q,
          kv,
          out,
          lse};
}

LayerBuffers& Transformer::LayerOf(int64_t layer) { return At(&buffers_.layer, shape_.keep == Keep::kAll ? layer : 0); }

float* Transformer::InputOf(int64_t layer) {
  return At(&buffers_.input, shape_.keep == Keep::kNothing ? 0 : layer).data();
}

// In float32, where rows of it are inputs of a layer.
const float* Transformer::EmbeddingTable(const Weights& weights) {
  if (weights.f32) return weights.f32 + layout_.embedding;
  const int64_t n = config_.vocab * config_.hidden;
  float* table = buffers_.embedding.data();
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
  float *q_of_id = buffers_.q_of_id.data(), *kv_of_id = buffers_.kv_of_id.data();
  ParallelRows(c.vocab, kRowBlock, [&](int64_t begin, int64_t end) {
    LayerInputRows(layer, end - begin, x + begin * c.hidden, nullptr, normed + begin * c.hidden,
                   q_of_id + begin * c.q_width(), q_raw ? q_raw + begin * c.q_width() : nullptr,
                   kv_of_id + begin * c.kv_width(), k_raw ? k_raw + begin * c.k_width() : nullptr);
  });
  ParallelRows(batch.tokens, kRowBlock, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    EmbeddingCpu(n, c.q_width(), q_of_id, batch.ids + begin, q + begin * c.q_width());
    EmbeddingCpu(n, c.kv_width(), kv_of_id, batch.ids + begin, kv + begin * c.kv_width());
    RopeCpu({n, c.heads, c.head_dim, q + begin * c.q_width(), c.q_width(), buffers_.positions.data() + begin,
             layer.rope, false});
    RopeCpu({n, c.kv_heads, c.head_dim, kv + begin * c.kv_width(), c.kv_width(), buffers_.positions.data() + begin,
             layer.rope, false});
  });
}

void Transformer::RunLayer(const Weights& weights, const PackedBatch& batch, int64_t l, float* x, float* out,
                           const KvSink* sink) {
  const ModelConfig& c = config_;
  const bool last = l == c.layers - 1, compact = shape_.compact && last, keep = shape_.keep != Keep::kNothing;
  const int64_t tokens = batch.tokens, rows = last ? batch.queries : tokens;
  const LayerOffsets& offsets = layout_.layers[static_cast<size_t>(l)];
  float* packed = buffers_.packed.data();
  const LayerContext layer{c, offsets, weights.vectors, PackLayer(c, offsets, weights, PackFor::kForward, packed),
                           rope_.Get(c, 0)};
  LayerBuffers& kept = LayerOf(l);
  float* q = kept.q.data();
  float* kv = kept.kv.data();
  float* q_raw = keep && c.qk_norm ? kept.q_raw.data() : nullptr;
  float* k_raw = keep && c.qk_norm ? kept.k_raw.data() : nullptr;
  float *normed = buffers_.normed.data(), *activated = buffers_.activated.data();
  if (l == 0 && shape_.by_id) {
    InputById(layer, EmbeddingTable(weights), batch, normed, q, q_raw, kv, k_raw);
  } else {
    ParallelRows(tokens, kRowBlock, [&](int64_t begin, int64_t end) {
      LayerInputRows(layer, end - begin, x + begin * c.hidden, buffers_.positions.data() + begin,
                     normed + begin * c.hidden, compact ? nullptr : q + begin * c.q_width(),
                     q_raw ? q_raw + begin * c.q_width() : nullptr, kv + begin * c.kv_width(),
                     k_raw ? k_raw + begin * c.k_width() : nullptr);
    });
  }
  if (compact) {
    float* query_x = buffers_.query_x.data();
    ParallelRows(rows, kRowBlock, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        Copy(query_x + r * c.hidden, x + buffers_.query_rows.data()[r] * c.hidden, c.hidden);
      LayerInputRows(layer, end - begin, query_x + begin * c.hidden, buffers_.query_positions.data() + begin,
                     normed + begin * c.hidden, q + begin * c.q_width(), q_raw ? q_raw + begin * c.q_width() : nullptr,
                     nullptr, nullptr);
    });
    x = query_x;
  }
  if (sink) (*sink)(l, kv);

  float* attended = kept.attended.data();
  float* lse = keep ? kept.lse.data() : nullptr;
  AttentionCpu(AttentionOf(batch, l, q, kv, attended, lse));

  float* mid = keep ? kept.mid.data() : x;
  float* gate_up = kept.gate_up.data();
  ParallelRows(rows, kRowBlock, [&](int64_t begin, int64_t end) {
    LayerOutputRows(layer, end - begin, attended + begin * c.q_width(), x + begin * c.hidden, mid + begin * c.hidden,
                    normed + begin * c.hidden, gate_up + begin * 2 * c.intermediate, activated + begin * c.intermediate,
                    out ? out + begin * c.hidden : nullptr);
  });
}

const float* Transformer::Forward(const Weights& weights, const PackedBatch& batch, Keep keep, const KvSink* sink) {
  const ModelConfig& c = config_;
  const int64_t tokens = batch.tokens;
  shape_ = {tokens, batch.queries, batch.sequences, batch.queries != tokens, ById(c, tokens), weights.bf16 != nullptr,
            keep};
  buffers_.Each(c, shape_, kReserve);
  IndexRows(batch);
  int64_t longest = 0;
  for (int64_t s = 0; s < batch.sequences; ++s) {
    longest = std::max<int64_t>(longest, batch.PrefixLength(s) + batch.cu_seqlens[s + 1] - batch.cu_seqlens[s]);
  }
  rope_.Get(c, longest);

  float* x = InputOf(0);
  ParallelRows(tokens, kRowBlock, [&](int64_t begin, int64_t end) {
    Embed(c, layout_, weights, end - begin, batch.ids + begin, x + begin * c.hidden);
  });
  for (int64_t l = 0; l < c.layers; ++l) {
    const bool last = l == c.layers - 1;
    float* out = last ? buffers_.final_x.data() : InputOf(l + 1);
    RunLayer(weights, batch, l, x, out, sink);
    x = out;
  }
  float* hidden = buffers_.hidden.data();
  ParallelRows(batch.queries, kRowBlock, [&](int64_t begin, int64_t end) {
    RmsNormCpu({end - begin, c.hidden, x + begin * c.hidden, c.hidden, weights.vectors + layout_.final_norm, c.norm_eps,
                hidden + begin * c.hidden, c.hidden});
  });
  return hidden;
}

}  // namespace prl
