// The sizes of a Llama, Qwen2 or Qwen3 dense decoder. lib/policy/config.ts makes them of a Hugging Face config.
#pragma once

#include <cstdint>
#include <vector>

namespace prl {

struct ModelConfig {
  int64_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, max_positions;
  float norm_eps;
  bool qkv_bias;                // Qwen2
  bool qk_norm;                 // Qwen3: an RMSNorm per head on queries and keys, before rope
  bool tied;                    // the output head is the embedding
  std::vector<float> inv_freq;  // [head_dim / 2], scaling applied

  int64_t q_width() const { return heads * head_dim; }
  int64_t kv_width() const { return 2 * kv_heads * head_dim; }  // a row of keys, then values
  int64_t k_width() const { return kv_heads * head_dim; }
};

}  // namespace prl
