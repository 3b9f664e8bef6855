// Sampling completions with a key-value cache and continuous batching: a finished sequence's place is taken by the next
// at once. The same on every device.
//
// Completion i = prompt * n + sample. Its tokens depend on the weights, its prompt, the sampling parameters and its
// (key, stream) alone: not on the other prompts, the size of the batch, the order of finishing or the number of
// threads.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "model/network.h"
#include "runtime/status.h"

namespace prl {

// How much is prefilled ahead of the completions that start: tokens, prompts, floats of their logits.
constexpr int64_t kWindowTokens = 2048, kWindowPrompts = 64, kWindowLogits = 4 << 20;

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

// `progress` is called on this thread after every step; `cancel` is looked at before each. On failure *completions is
// what it was.
Status Generate(Network& network, const GenerateRequest& request, const std::atomic<bool>& cancel,
                const std::function<void(const GenerateProgress&)>& progress,
                std::vector<GeneratedCompletion>* completions);

}  // namespace prl
