// Sampling completions with a key-value cache and continuous batching: a finished sequence's place is taken by the next
// at once.
//
// Completion i = prompt * n + sample. Its tokens depend on the weights, its prompt, the sampling parameters and its
// (key, stream) alone: not on the other prompts, the size of the batch, the order of finishing or the number of
// threads.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "model/config.h"
#include "model/cpu/transformer.h"
#include "model/layers/sampling/sampling.h"
#include "model/parameters.h"
#include "runtime/buffer.h"
#include "runtime/status.h"

namespace prl {

struct GenerateRequest {
  std::vector<int32_t> ids;         // prompts, packed; each holds at least one id, all in [0, vocab)
  std::vector<int32_t> cu_prompts;  // [prompts + 1]
  int64_t n;                        // completions per prompt
  int64_t max_new_tokens;           // at least 1
  SamplingParams sampling;
  std::vector<uint64_t> keys;     // [prompts] seeds
  std::vector<uint64_t> streams;  // [prompts]; the counter's high word is (stream, sample)
  std::vector<int32_t> stop;      // ids that end a completion, kept as its last token
  int64_t max_batch;              // sequences decoded at once; 0: chosen,
  int64_t most_batch;             // and no more than these
};

struct GeneratedCompletion {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool stopped = false;  // by a stop id; else by length
};

struct GenerateProgress {
  int64_t finished, total, tokens;
};

class Generator {
 public:
  Generator(const ModelConfig& config, const Layout& layout, Transformer& transformer)
      : config_(config), layout_(layout), transformer_(transformer) {}

  // `progress` is called on this thread after every step; `cancel` is looked at before each. On failure *completions is
  // what it was.
  Status Run(const Weights& weights, const GenerateRequest& request, const std::atomic<bool>& cancel,
             const std::function<void(const GenerateProgress&)>& progress,
             std::vector<GeneratedCompletion>* completions);

 private:
  struct Slot {
    int64_t completion = -1;  // -1: free
    int32_t length = 0;       // positions in the cache
    int32_t token = 0;        // the last token, not yet in the cache
  };
  // Prompts whose keys, values and next-token logits are at hand: completions start in order, so one window is enough.
  struct Window {
    int64_t begin = 0, end = 0;                      // prompts
    std::vector<int32_t> cu;                         // their offsets in kv
    std::vector<std::unique_ptr<Buffer<float>>> kv;  // per layer
    Buffer<float> logits;                            // [end - begin, vocab]
  };

  void TakeWeights(const Weights& weights);
  void Prefill(const Weights& weights, const GenerateRequest& request, int64_t prompt);
  Status Start(const GenerateRequest& request, int64_t* next, std::vector<GeneratedCompletion>* out, int64_t* finished);
  void DecodeRows(const Weights& weights, const GenerateRequest& request, const std::vector<GeneratedCompletion>& out,
                  int64_t begin, int64_t end);
  // Takes a sampled token into a slot's completion; frees the slot when that was its last.
  Status Accept(const GenerateRequest& request, Slot* slot, SampledToken sampled, std::vector<GeneratedCompletion>* out,
                int64_t* finished);
  SampleArgs SamplingOf(const GenerateRequest& request, const float* logits, int64_t completion,
                        int64_t position) const;
  float* KeysOf(int64_t layer, int64_t slot) {
    return cache_.data() + (layer * static_cast<int64_t>(slots_.size()) + slot) * slot_floats_;
  }
  float* ValuesOf(int64_t layer, int64_t slot) { return KeysOf(layer, slot) + slot_floats_ / 2; }

  const ModelConfig& config_;
  const Layout& layout_;
  Transformer& transformer_;             // of the policy: prefill shares its workspace
  std::vector<LayerOperands> operands_;  // of the layers
  Operand head_;
  Buffer<float> packed_, packed_head_, cache_;
  const float* rope_ = nullptr;
  int64_t capacity_ = 0, slot_floats_ = 0;
  std::vector<Slot> slots_;
  std::vector<int64_t> active_;  // slots that take part in the step
  Window window_;
  // Rows of one step, [active, ...].
  Buffer<float> x_, normed_, q_, kv_, attended_, gate_up_, activated_, logits_;
  Buffer<int32_t> positions_, lengths_;
  std::vector<const float*> keys_, values_;
  std::vector<SampledToken> sampled_;
};

}  // namespace prl
