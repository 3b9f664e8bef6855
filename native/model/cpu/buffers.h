// What the stages of the CPU work in. Each() lists every buffer of a struct with the elements that it needs: to reserve
// them, and to count them before they are reserved. So an estimate of memory is of what is allocated.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/linear_logprob/linear_logprob.h"
#include "model/config.h"
#include "model/cpu/layer.h"
#include "model/layers/decode_attention/decode_attention.h"
#include "model/network.h"
#include "runtime/buffer.h"
#include "runtime/cpu/gemm.h"

namespace prl {

// For Each: takes the memory.
constexpr auto kReserve = [](auto& buffer, int64_t elements) { buffer.Reserve(elements); };

// What a pass of the transformer is sized by.
struct PassShape {
  int64_t tokens, queries, sequences;
  bool compact;  // in the last layer the queries are rows of their own
  bool by_id;    // the first layer's products are per symbol
  bool narrow;   // values in bfloat16
  Keep keep;
};

// Entry `index` of a list that grows as it is asked for.
template <typename T>
T& At(std::vector<std::unique_ptr<T>>* list, int64_t index) {
  while (static_cast<int64_t>(list->size()) <= index) list->push_back(std::make_unique<T>());
  return *(*list)[static_cast<size_t>(index)];
}

// What a layer leaves for its backward pass, besides its input. Rows are tokens, or queries (r) in the last layer.
struct LayerBuffers {
  Buffer<float> q, kv, q_raw, k_raw, attended, lse, mid, gate_up;

  template <typename F>
  void Each(const ModelConfig& c, int64_t tokens, int64_t rows, bool keep, const F& f) {
    f(q, rows * c.q_width());
    f(kv, tokens * c.kv_width());
    f(attended, rows * c.q_width());
    f(gate_up, rows * 2 * c.intermediate);
    if (!keep) return;
    f(lse, rows * c.heads);
    f(mid, rows * c.hidden);
    if (!c.qk_norm) return;
    f(q_raw, rows * c.q_width());
    f(k_raw, tokens * c.k_width());
  }
};

// Gradients of the norms and biases of a layer's input, per block of rows.
struct InputPartials {
  int64_t norm, q_norm, k_norm, q_bias, kv_bias, width;
  explicit InputPartials(const ModelConfig& c)
      : norm(0), q_norm(c.hidden), k_norm(q_norm + c.head_dim), q_bias(k_norm + c.head_dim),
        kv_bias(q_bias + c.q_width()), width(kv_bias + c.kv_width()) {}
};

// The same of a layer's output.
struct OutputPartials {
  int64_t norm, o_bias, down_bias, gate_up_bias, width;
  explicit OutputPartials(const ModelConfig& c)
      : norm(0), o_bias(c.hidden), down_bias(o_bias + (c.o_bias ? c.hidden : 0)),
        gate_up_bias(down_bias + (c.mlp_bias ? c.hidden : 0)),
        width(gate_up_bias + (c.mlp_bias ? 2 * c.intermediate : 0)) {}
};

struct PassBuffers {
  std::vector<std::unique_ptr<Buffer<float>>> input;  // of each layer; with Keep::kNothing one for all
  std::vector<std::unique_ptr<LayerBuffers>> layer;   // one per layer with Keep::kAll, else one for all
  Buffer<int32_t> positions, query_positions, query_rows, query_of_row, from_start, order, starts;
  Buffer<float> packed, normed, query_normed, activated, partial;
  Buffer<float> query_x, final_x, hidden;                   // rows of the last layer
  Buffer<float> q_of_id, kv_of_id, d_mid_of_id, embedding;  // [vocab, ...]
  Buffer<float> d_x, d_mid, d_attended, d_q, d_kv, d_normed, d_query_normed;

  template <typename F>
  void Each(const ModelConfig& c, const PassShape& s, const F& f) {
    const int64_t h = c.hidden, tokens = s.tokens, queries = s.queries, own = s.compact ? queries : 0;
    const bool keep = s.keep != Keep::kNothing, all = s.keep == Keep::kAll;
    const int64_t forward = PackedLayerFloats(c, PackFor::kForward),
                  backward = PackedLayerFloats(c, PackFor::kBackward);
    for (int64_t l = 0; l < (keep ? c.layers : 1); ++l) f(At(&input, l), tokens * h);
    for (int64_t l = 0; l < (all ? c.layers : 1); ++l)
      At(&layer, l).Each(c, tokens, all && l == c.layers - 1 ? queries : tokens, keep, f);
    f(positions, tokens);
    f(query_positions, queries);
    f(query_rows, queries);
    f(query_of_row, tokens);
    f(from_start, s.sequences);
    f(packed, keep && backward > forward ? backward : forward);
    f(normed, tokens * h);
    f(activated, tokens * c.intermediate);
    f(query_x, own * h);
    f(final_x, queries * h);
    f(hidden, queries * h);
    if (s.by_id) {
      f(q_of_id, c.vocab * c.q_width());
      f(kv_of_id, c.vocab * c.kv_width());
      if (s.narrow) f(embedding, c.vocab * h);
    }
    if (!keep) return;
    const int64_t blocks = (tokens + kRowBlock - 1) / kRowBlock;
    // Of the tokens, and once more of the queries: below the last layer these are all tokens.
    const int64_t partials = std::max(2 * InputPartials(c).width, OutputPartials(c).width);
    f(order, tokens);
    f(starts, c.vocab + 1);
    f(partial, blocks * partials);
    f(query_normed, own * h);
    f(d_query_normed, own * h);
    for (Buffer<float>* rows : {&d_x, &d_mid, &d_normed}) f(*rows, tokens * h);
    f(d_attended, tokens * c.q_width());
    f(d_q, tokens * c.q_width());
    f(d_kv, tokens * c.kv_width());
    if (s.by_id) f(d_mid_of_id, c.vocab * h);
  }
};

// Of the output head over the scored tokens of a pass.
struct HeadBuffers {
  Buffer<float> rows, d_rows;  // hidden states of the scored tokens; of the queries their gradient
  Buffer<float> logprob, entropy, workspace;

  template <typename F>
  void Each(const ModelConfig& c, int64_t scored, int64_t queries, bool keep, const F& f) {
    f(rows, (scored > queries ? scored : queries) * c.hidden);
    if (!keep) return;
    f(d_rows, scored * c.hidden);
    f(logprob, scored);
    f(entropy, scored);
  }
  // Tokens whose logits exist at once: about 64 MB of them, and no more rows than keep that small. Each chunk reads the
  // head three times, and reads and writes its gradient.
  static int64_t Chunk(const ModelConfig& c) {
    const int64_t rows = (int64_t{1} << 24) / c.vocab;
    return rows < 32 ? 32 : rows > 2048 ? 2048 : rows;
  }
  // sequences: of a loss; 0 without one.
  static int64_t WorkspaceFloats(const ModelConfig& c, int64_t scored, int64_t sequences) {
    return LinearWorkspaceFloats(scored, sequences, c.hidden, c.vocab, Chunk(c));
  }
};

// Of generation.
struct DecodeBuffers {
  Buffer<float> packed, packed_head;  // unused where weights are read from where they lie
  Buffer<float> x, normed, q, kv, attended, gate_up, activated, logits;
  Buffer<int32_t> positions, lengths;
  Buffer<float> cache;
  // Of the prompts of a window.
  std::vector<std::unique_ptr<Buffer<float>>> prompt_kv;  // per layer
  Buffer<float> prompt_logits;

  // Weights up to this many are packed, stay in the shared cache, and threads take blocks of rows through the whole
  // network on their own (one hand-over per token instead of a dozen per layer). Larger ones are read once per step by
  // all threads together, from where they lie: a packed copy would cost as much memory again, and as much time as a
  // step.
  static bool Packs(const Layout& layout) { return layout.count <= 4 << 20; }
  static int64_t Capacity(int64_t tokens) { return (tokens + kCacheBlock - 1) / kCacheBlock * kCacheBlock; }
  // Keys and values of one layer of a slot.
  static int64_t SlotFloats(const ModelConfig& c, int64_t capacity) { return c.kv_width() * capacity; }

  template <typename F>
  void EachOfPrompts(const ModelConfig& c, int64_t tokens, const F& f) {
    for (int64_t l = 0; l < c.layers; ++l) f(At(&prompt_kv, l), tokens * c.kv_width());
  }
  template <typename F>
  void EachOfSlots(const ModelConfig& c, const Layout& layout, int64_t slots, const F& f) {
    if (Packs(layout)) {
      f(packed, PackedLayerFloats(c, PackFor::kForward) * c.layers);
      f(packed_head, PackedBSize(c.hidden, c.vocab));
    }
    f(x, slots * c.hidden);
    f(normed, slots * c.hidden);
    f(q, slots * c.q_width());
    f(kv, slots * c.kv_width());
    f(attended, slots * c.q_width());
    f(gate_up, slots * 2 * c.intermediate);
    f(activated, slots * c.intermediate);
    f(positions, slots);
    f(lengths, slots);
  }
};

}  // namespace prl
