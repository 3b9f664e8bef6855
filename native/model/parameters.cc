#include "model/parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/cpu/thread_pool.h"
#include "runtime/philox.h"

namespace prl {

// `continues`: right after the one before, as part of its matrix; otherwise on a 64-byte boundary.
int64_t Layout::Add(const std::string& name, std::vector<int64_t> shape, bool continues) {
  int64_t& end = shape.size() == 1 ? vectors : size;
  if (!continues) end = (end + 15) / 16 * 16;
  Parameter p{name, std::move(shape), end, 1};
  for (int64_t n : p.shape) p.size *= n;
  end += p.size;
  count += p.size;
  largest = std::max(largest, p.size);
  parameters.push_back(std::move(p));
  return parameters.back().offset;
}

// Twice: the first time tells where the vectors end and the matrices begin.
Layout::Layout(const ModelConfig& config) {
  Build(config);
  size = vectors = (vectors + 15) / 16 * 16;
  const int64_t matrices = vectors;
  vectors = count = 0;
  parameters.clear();
  layers.clear();
  Build(config);
  vectors = matrices;
}

void Layout::Build(const ModelConfig& c) {
  embedding = Add("model.embed_tokens.weight", {c.vocab, c.hidden});
  for (int64_t l = 0; l < c.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".", attention = layer + "self_attn.",
                      mlp = layer + "mlp.";
    LayerOffsets o{};
    o.q_bias = o.kv_bias = o.q_norm = o.k_norm = o.o_bias = o.gate_up_bias = o.down_bias = -1;
    o.input_norm = Add(layer + "input_layernorm.weight", {c.hidden});
    o.q = Add(attention + "q_proj.weight", {c.q_width(), c.hidden});
    o.kv = Add(attention + "k_proj.weight", {c.k_width(), c.hidden}, true);
    Add(attention + "v_proj.weight", {c.k_width(), c.hidden}, true);
    if (c.qkv_bias) {
      o.q_bias = Add(attention + "q_proj.bias", {c.q_width()});
      o.kv_bias = Add(attention + "k_proj.bias", {c.k_width()}, true);
      Add(attention + "v_proj.bias", {c.k_width()}, true);
    }
    if (c.qk_norm) {
      o.q_norm = Add(attention + "q_norm.weight", {c.head_dim});
      o.k_norm = Add(attention + "k_norm.weight", {c.head_dim});
    }
    o.o = Add(attention + "o_proj.weight", {c.hidden, c.q_width()});
    if (c.o_bias) o.o_bias = Add(attention + "o_proj.bias", {c.hidden});
    o.mlp_norm = Add(layer + "post_attention_layernorm.weight", {c.hidden});
    o.gate_up = Add(mlp + "gate_proj.weight", {c.intermediate, c.hidden});
    Add(mlp + "up_proj.weight", {c.intermediate, c.hidden}, true);
    if (c.mlp_bias) {
      o.gate_up_bias = Add(mlp + "gate_proj.bias", {c.intermediate});
      Add(mlp + "up_proj.bias", {c.intermediate}, true);
    }
    o.down = Add(mlp + "down_proj.weight", {c.hidden, c.intermediate});
    if (c.mlp_bias) o.down_bias = Add(mlp + "down_proj.bias", {c.hidden});
    layers.push_back(o);
  }
  final_norm = Add("model.norm.weight", {c.hidden});
  head = c.tied ? embedding : Add("lm_head.weight", {c.vocab, c.hidden});
  size = (size + 15) / 16 * 16;
}

const Parameter* Layout::Find(const std::string& name) const {
  for (const Parameter& p : parameters) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

namespace {

bool EndsWith(const std::string& text, const char* end) {
  const size_t n = std::strlen(end);
  return text.size() >= n && text.compare(text.size() - n, n, end) == 0;
}

// Four normal numbers from one Philox block, by the method of Box and Muller.
void FourNormals(uint64_t seed, uint64_t stream, uint64_t block, float* out) {
  const Philox4 bits = Philox(seed, stream, block);
  for (int pair = 0; pair < 2; ++pair) {
    const double radius = std::sqrt(-2.0 * std::log(static_cast<double>(UniformOf(bits.word[2 * pair]))));
    const double angle = 6.283185307179586 * static_cast<double>(UniformOf(bits.word[2 * pair + 1]));
    out[2 * pair] = static_cast<float>(radius * std::cos(angle));
    out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace

void Initialize(const ModelConfig& config, const Layout& layout, size_t parameter, uint64_t seed, int64_t first,
                int64_t n, float* into) {
  const Parameter& p = layout.parameters[parameter];
  if (!p.matrix()) {
    std::fill(into, into + n, EndsWith(p.name, ".bias") ? 0.0f : 1.0f);
    return;
  }
  double deviation = 1.0 / std::sqrt(static_cast<double>(p.shape[1]));
  if (p.offset == layout.embedding) deviation = 0.02;
  if (EndsWith(p.name, "o_proj.weight") || EndsWith(p.name, "down_proj.weight")) {
    deviation /= std::sqrt(2.0 * static_cast<double>(config.layers));
  }
  ParallelRows((n + 3) / 4, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      float four[4];
      FourNormals(seed, parameter, static_cast<uint64_t>(first / 4 + block), four);
      for (int64_t i = 4 * block; i < std::min(4 * block + 4, n); ++i)
        into[i] = static_cast<float>(four[i - 4 * block] * deviation);
    }
  });
}

}  // namespace prl
