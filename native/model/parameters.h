// Where every parameter lives: one arena for the values, of float32 or bfloat16, and equal ones of float32 for
// gradients and optimizer moments. Vectors (norms, biases) come first, matrices after them.
//
// q, k, v of a layer are neighbours, as are gate and up, so that each group is one matrix of a product; Hugging Face's
// names are slices of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace prl {

struct Parameter {
  std::string name;  // as in a Hugging Face checkpoint
  std::vector<int64_t> shape;
  int64_t offset, size;
  bool matrix() const { return shape.size() > 1; }
};

// Offsets in an arena; -1 where the architecture has none.
struct LayerOffsets {
  int64_t input_norm;
  int64_t q, kv;            // [q_width, hidden], [kv_width, hidden]
  int64_t q_bias, kv_bias;  // [q_width], [kv_width]
  int64_t q_norm, k_norm;   // [head_dim]
  int64_t o;                // [hidden, q_width]
  int64_t o_bias;           // [hidden]
  int64_t mlp_norm;
  int64_t gate_up;       // [2 * intermediate, hidden]
  int64_t gate_up_bias;  // [2 * intermediate]
  int64_t down;          // [hidden, intermediate]
  int64_t down_bias;     // [hidden]
};

struct Layout {
  explicit Layout(const ModelConfig& config);
  // Null when there is no parameter of that name.
  const Parameter* Find(const std::string& name) const;

  std::vector<Parameter> parameters;
  std::vector<LayerOffsets> layers;
  int64_t embedding, final_norm, head;  // head == embedding when tied
  int64_t vectors = 0;                  // elements of an arena that vectors take
  int64_t size = 0;                     // elements of an arena, padding (always 0) included
  int64_t count = 0;                    // parameters
  int64_t largest = 0;                  // elements of the largest parameter

 private:
  void Build(const ModelConfig& config);
  int64_t Add(const std::string& name, std::vector<int64_t> shape, bool continues = false);
};

// kMaster: the float32 values behind a policy stored in bfloat16, from its first step on. The numbers cross the
// JavaScript boundary (lib/policy/optimizer-state.ts): add, never renumber.
enum class Arena { kValues, kGradients, kMoment1, kMoment2, kMaster };

// Draws initial values [first, first + n) of a parameter, `first` a multiple of 4: embedding N(0, 0.02), matrices N(0,
// 1 / sqrt(inputs)), the two that write to the residual stream divided by sqrt(2 * layers) besides, norms 1, biases 0.
// A value depends on the seed, its parameter and its place alone.
void Initialize(const ModelConfig& config, const Layout& layout, size_t parameter, uint64_t seed, int64_t first,
                int64_t n, float* into);

}  // namespace prl
