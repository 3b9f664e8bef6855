// The pieces that a forward pass and decoding share: the matrices of a layer as the products take them, rotations, and
// the chain of operations before and after attention, for a block of rows.
#pragma once

#include "model/config.h"
#include "model/cpu/arenas.h"
#include "model/parameters.h"
#include "runtime/buffer.h"

namespace prl {

// Rows that run a chain of layers together: a multiple of the rows that the matrix product keeps in registers. The
// gradients of norms and biases are added up per block first, so its size is part of their rounding.
constexpr int64_t kRowBlock = 96;

// to may be from.
void Copy(float* to, const float* from, int64_t n);

// The right-hand side of a product: as PackB leaves it; or where it lies, for a few rows.
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
  // Floats that it takes when it is made for so many.
  static int64_t Floats(const ModelConfig& config, int64_t positions) {
    return (positions + positions / 2) * config.head_dim;
  }

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

}  // namespace prl
