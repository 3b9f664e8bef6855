// The decoder on the CPU: forward and backward over packed sequences.
//
// Row-wise work is cut in blocks of rows that run a whole chain (norm, product, rope; or product, norm, product,
// swiglu, product) while the block is in cache. A row's numbers depend on its own sequence alone: not on the batch, nor
// on the threads.
#pragma once

#include <functional>

#include "model/cpu/buffers.h"
#include "model/cpu/layer.h"
#include "model/layers/attention/attention.h"
#include "model/network.h"

namespace prl {

class Transformer {
 public:
  Transformer(const ModelConfig& config, const Layout& layout) : config_(config), layout_(layout) {}

  // Called after each layer's keys and values are made: kv [tokens, kv_width], a row holding keys, then values.
  using KvSink = std::function<void(int64_t layer, const float* kv)>;

  // Hidden states of the queries after the final norm, [queries, hidden]; valid until the next call.
  const float* Forward(const Weights& weights, const PackedBatch& batch, Keep keep, const KvSink* sink = nullptr);

  // After a Forward with `keep` of the same batch and weights: adds the gradients of all parameters but the output
  // head's to `gradients` (an arena). d_hidden [queries, hidden]. What Forward kept is used up.
  void Backward(const Weights& weights, const PackedBatch& batch, const float* d_hidden, float* gradients);

  // Whether a pass makes the first layer's products per symbol: where the vocabulary is small beside the batch.
  static bool ById(const ModelConfig& config, int64_t tokens) {
    return config.layers > 1 && 4 * config.vocab <= tokens;
  }

  RopeTable& rope() { return rope_; }

 private:
  // A layer: x -> out. out null: only what Backward needs.
  void RunLayer(const Weights& weights, const PackedBatch& batch, int64_t layer, float* x, float* out,
                const KvSink* sink);
  void BackwardOutput(const Weights& weights, const LayerOperands& matrices, int64_t layer, int64_t rows,
                      float* gradients);
  // Rows of a layer's input: tokens as a rule, symbols of the vocabulary in the first layer (see InputById).
  struct InputRows {
    int64_t tokens, queries;
    bool compact;  // the queries are rows of their own
    const float* x;
    const int32_t* positions;  // null: no rope to undo
    float *d_q, *d_kv, *d_mid;
  };
  void BackwardInput(const Weights& weights, const LayerOperands& matrices, int64_t layer, const InputRows& in,
                     float* gradients);
  const float* EmbeddingTable(const Weights& weights);
  void InputById(const LayerContext& layer, const float* table, const PackedBatch& batch, float* normed, float* q,
                 float* q_raw, float* kv, float* k_raw);
  InputRows RowsById(const Weights& weights, const PackedBatch& batch);
  void ScatterQueries(int64_t begin, int64_t end, float* d_normed, float* d_x);
  AttentionArgs AttentionOf(const PackedBatch& batch, int64_t layer, const float* q, const float* kv, float* out,
                            float* lse);
  void IndexRows(const PackedBatch& batch);
  LayerBuffers& LayerOf(int64_t layer);
  float* InputOf(int64_t layer);

  const ModelConfig& config_;
  const Layout& layout_;
  RopeTable rope_;
  PassShape shape_{};  // of the last Forward
  PassBuffers buffers_;
};

}  // namespace prl
