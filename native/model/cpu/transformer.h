// The decoder on the CPU: forward and backward over packed sequences, and the pieces of a layer that decoding uses.
//
// Only some positions of a sequence are scored (the completion's, or the last one). The output head, and in the last
// layer all but keys and values, are computed for these QUERIES alone.
//
// Row-wise work is cut in blocks of rows that run a whole chain (norm, product, rope; or product, norm, product,
// swiglu, product) while the block is in cache. A row's numbers depend on its own sequence alone: not on the batch, nor
// on the threads.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "model/config.h"
#include "model/layers/attention/attention.h"
#include "model/parameters.h"
#include "runtime/buffer.h"

namespace prl {

struct PackedBatch {
  int64_t tokens, sequences, queries;
  const int32_t* ids;         // [tokens] in [0, vocab)
  const int32_t* cu_seqlens;  // [sequences + 1]; an empty sequence is legal
  // [sequences]: which of its rows is the first query; from there on all rows are queries ...
  const int32_t* query_begin;
  const int32_t* cu_queries;  // [sequences + 1]: ... so that these are the offsets of the queries, packed
  const int32_t* prefix;      // [sequences] or null: the sequence that comes before this one (attention.h), or -1

  int64_t PrefixLength(int64_t s) const {
    return prefix && prefix[s] >= 0 ? cu_seqlens[prefix[s] + 1] - cu_seqlens[prefix[s]] : 0;
  }
};

// The right-hand side of a product: as PackB leaves it; or where it lies, for a few rows (ThinGemm).
struct Operand {
  const float* packed;
  const float* f32;
  const BFloat16* bf16;
};
struct LayerOperands {
  Operand q, kv, o, gate_up, down;
};
enum class PackFor { kForward, kBackward };
int64_t PackedLayerFloats(const ModelConfig& config, PackFor direction);
LayerOperands PackLayer(const ModelConfig& config, const LayerOffsets& layer, const Weights& weights, PackFor direction,
                        float* into);
// For the forward direction, not packed.
LayerOperands LayerInPlace(const LayerOffsets& layer, const Weights& weights);
Operand InPlace(const Weights& weights, int64_t offset);
// y = x . operand, or added to y.
void Product(int64_t rows, int64_t in, int64_t out, const float* x, const Operand& operand, float* y, bool accumulate);
// x [n, hidden] = rows of the embedding.
void Embed(const ModelConfig& config, const Layout& layout, const Weights& weights, int64_t n, const int32_t* ids,
           float* x);

// Rotations of positions 0 .. n-1, [n, head_dim], kept and extended.
class RopeTable {
 public:
  const float* Get(const ModelConfig& config, int64_t positions);

 private:
  Buffer<float> table_;
  int64_t positions_ = 0;
};

// What the rows of one layer need.
struct LayerContext {
  const ModelConfig& config;
  const LayerOffsets& offsets;
  const float* vectors;
  LayerOperands matrices;  // for the forward direction
  const float* rope;
};

// Residual stream x [rows, hidden] -> q [rows, q_width] and kv [rows, kv_width] (either may be null), rotated to
// `positions`. positions null: no rotation. normed [rows, hidden] is scratch. q_raw, k_raw (null when not wanted): what
// the norms of Qwen3 were applied to.
void LayerInputRows(const LayerContext& layer, int64_t rows, const float* x, const int32_t* positions, float* normed,
                    float* q, float* q_raw, float* kv, float* k_raw);

// attended [rows, q_width] and the residual stream x -> mid = x + attended . o, out = mid + mlp(mid). mid may be x, out
// may be mid. Scratch: normed [rows, hidden], gate_up [rows, 2 * intermediate], activated [rows, intermediate].
void LayerOutputRows(const LayerContext& layer, int64_t rows, const float* attended, const float* x, float* mid,
                     float* normed, float* gate_up, float* activated, float* out);

class Transformer {
 public:
  Transformer(const ModelConfig& config, const Layout& layout) : config_(config), layout_(layout) {}

  // Called after each layer's keys and values are made: kv [tokens, kv_width], a row holding keys, then values.
  using KvSink = std::function<void(int64_t layer, const float* kv)>;

  // What to leave for Backward: all it needs, or the layers' inputs, of which it computes the rest again (the same
  // bits).
  enum class Keep { kNothing, kInputs, kAll };

  // Hidden states of the queries after the final norm, [queries, hidden]; valid until the next call.
  const float* Forward(const Weights& weights, const PackedBatch& batch, Keep keep, const KvSink* sink = nullptr);

  // After a Forward with `keep` of the same batch and weights: adds the gradients of all parameters but the output
  // head's to `gradients` (an arena). d_hidden [queries, hidden]. What Forward kept is used up.
  void Backward(const Weights& weights, const PackedBatch& batch, const float* d_hidden, float* gradients);

  RopeTable& rope() { return rope_; }

 private:
  // What a layer leaves for its backward pass, besides its input. Rows are tokens, or queries (r) in the last layer.
  struct Kept {
    Buffer<float> q, kv, q_raw, k_raw, attended, lse, mid, gate_up;
  };
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
  Kept& KeptOf(int64_t layer);
  float* InputOf(int64_t layer, int64_t rows);

  const ModelConfig& config_;
  const Layout& layout_;
  RopeTable rope_;
  Keep keep_ = Keep::kNothing;
  std::vector<std::unique_ptr<Kept>> kept_;            // one per layer with Keep::kAll, else one for all
  std::vector<std::unique_ptr<Buffer<float>>> input_;  // one for all with Keep::kNothing
  // Rows of the last layer, when not all tokens are queries: its residual stream, and where they are among the tokens.
  bool compact_ = false;
  bool by_id_ = false;  // the first layer's products are per symbol
  Buffer<float> q_of_id_, kv_of_id_, d_mid_of_id_, embedding_;
  Buffer<float> query_x_, final_x_, hidden_;
  Buffer<int32_t> positions_, query_positions_, query_rows_, query_of_row_, from_start_;
  Buffer<float> packed_, normed_, query_normed_, activated_, partial_;
  Buffer<float> d_x_, d_mid_, d_attended_, d_q_, d_kv_, d_normed_, d_query_normed_;
  Buffer<int32_t> order_, starts_;
};

}  // namespace prl
