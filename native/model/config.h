// The sizes of a Llama, Mistral, Qwen2 or Qwen3 dense decoder. lib/policy/config.ts makes them of a Hugging Face
// config.
#pragma once

#include <cstdint>
#include <vector>

namespace prl {

struct ModelConfig {
  int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, max_positions;
  float norm_eps;
  bool qkv_bias;                // Qwen2; Llama and Qwen3 with attention_bias
  bool o_bias;                  // Llama and Qwen3 with attention_bias
  bool mlp_bias;                // Llama with mlp_bias: of gate, up and down
  bool qk_norm;                 // Qwen3: an RMSNorm per head on queries and keys, before rope
  bool tied;                    // the output head is the embedding
  std::vector<float> inv_freq;  // [head_dim / 2], scaling applied
  float rope_factor;            // multiplies the cosines and sines: YaRN's attention factor, else 1

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return 2 * kv_heads * head_dim; }  // a row of keys, then values
  int64_t k_width() const { return kv_heads * head_dim; }
};

}  // namespace prl
