// Decoding on the CPU: slots with a cache of keys and values each, and the prompts that completions start from.
// The stages are those of model/network.h.
#pragma once

#include <vector>

#include "model/cpu/buffers.h"
#include "model/cpu/layer.h"
#include "model/cpu/transformer.h"
#include "model/network.h"

namespace prl {

class CpuDecoder {
 public:
  // The transformer reads the prompts: its workspace serves both.
  CpuDecoder(const ModelConfig& config, const Layout& layout, Transformer& transformer)
      : config_(config), layout_(layout), transformer_(transformer) {}

  int64_t Begin(const Weights& weights, const DecodePlan& plan);
  void Prefill(const Weights& weights, const PackedBatch& prompts);
  void Start(int64_t n, const SlotStart* starts, SampledToken* tokens);
  void Decode(const Weights& weights, int64_t n, const int64_t* slots, SampledToken* tokens);
  void End();

 private:
  struct Slot {
    int32_t length = 0;  // positions in the cache
    int32_t token = 0;   // the last token, not yet in the cache
    uint64_t key = 0, stream = 0, drawn = 0;
  };

  void TakeWeights(const Weights& weights);
  void DecodeRows(const Weights& weights, int64_t begin, int64_t end, const int64_t* slots, SampledToken* tokens);
  SampledToken Draw(Slot* slot, const float* logits);
  float* KeysOf(int64_t layer, int64_t slot) {
    return buffers_.cache.data() + (layer * static_cast<int64_t>(slots_.size()) + slot) * slot_floats_;
  }
  float* ValuesOf(int64_t layer, int64_t slot) { return KeysOf(layer, slot) + slot_floats_ / 2; }

  const ModelConfig& config_;
  const Layout& layout_;
  Transformer& transformer_;
  SamplingParams sampling_{};
  std::vector<LayerOperands> operands_;  // of the layers
  Operand head_{};
  const float* rope_ = nullptr;
  int64_t capacity_ = 0, slot_floats_ = 0;
  bool large_ = false;  // the cache
  std::vector<Slot> slots_;
  std::vector<int32_t> cu_prompts_;  // offsets of the prompts of the window
  DecodeBuffers buffers_;
  std::vector<const float*> keys_, values_;  // of the rows of a step
};

}  // namespace prl
