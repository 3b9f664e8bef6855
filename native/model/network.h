// The seam between what is the same on every device and how a device computes.
//
// On this side of it: the policy, its micro-batches, the optimizer's bookkeeping, the slots of generation, checkpoints.
// On the other: a Network, which holds the parameters and all that is computed of them. Its methods are STAGES, not
// operations: on the CPU a stage is a chain of layers over blocks of rows that stay in cache (model/cpu), on a GPU it
// would be a few launches on a stream; an interface per operation would break one or the other.
//
// When it is done: a stage may be queued and return at once. Stages take effect in the order of the calls. Wait() waits
// for all of them; it is the one place where a stream is waited for. The CPU is done when a stage returns.
//
// Who owns what: all pointers are to host memory of the caller. A stage has read its inputs when it returns, except for
// a PackedBatch: its arrays stay as they are until the last stage of that batch has returned. Outputs are written by
// Wait() at the latest; until then they must stay where they are, and hold anything.
//
// Failures: a stage returns one, or Wait() returns the first that was queued since the last Wait(). Either way outputs
// hold garbage, gradients are lost (ClearGradients starts anew), what Forward kept is used up, and values, moments and
// masters are what they were. Load is the exception, and says so. std::bad_alloc counts as kOutOfMemory.
//
// One operation at a time: the caller sees to it. Nothing here knows of Node.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/clipped_loss/clipped_loss.h"
#include "model/config.h"
#include "model/layers/adamw/adamw_math.h"
#include "model/layers/sampling/sampling.h"
#include "model/parameters.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace prl {

// Sequences, packed. Only some positions of a sequence are scored (the completion's, or the last one): the output head,
// and in the last layer all but keys and values, are computed for these QUERIES alone.
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

// Tokens that are predicted, each by a query; several may be predicted by one.
struct ScoredTokens {
  int64_t count;
  const int32_t* targets;  // [count] in [0, vocab)
  const int32_t* queries;  // [count] in [0, queries)
  float temperature;
};

// What Forward leaves for Backward: nothing; the layers' inputs, of which Backward computes the rest again (the same
// bits); or all that it needs.
enum class Keep { kNothing, kInputs, kAll };

// A generation: `slots` sequences are decoded at once, each with a cache of prompt_tokens + new_tokens positions.
struct DecodePlan {
  int64_t prompt_tokens, new_tokens;  // of the longest
  int64_t completions;                // in all
  int64_t max_batch;                  // slots; 0: as the network chooses,
  int64_t most_batch;                 // and no more than these
  SamplingParams sampling;
};

// A completion that begins: its slot, the prompt in the window of the last Prefill, and what its draws depend on.
struct SlotStart {
  int64_t slot, prompt;
  uint64_t key, stream;
};

class Network {
 public:
  Network(const ModelConfig& model_config, DType storage) : config(model_config), layout(config), dtype(storage) {}
  virtual ~Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const ModelConfig config;
  const Layout layout;
  const DType dtype;  // of the values: kFloat32 or kBFloat16

  virtual Status Wait() = 0;

  // --- Parameters: elements [first, first + n) of an arena, within one parameter. ---

  // Whether there is such an arena yet: values always, gradients from ClearGradients on, moments and masters from the
  // first step on (or the first Write). The others take no memory before.
  virtual bool Has(Arena arena) const = 0;
  // Has(arena). out [n] of a floating-point type; kMaster: kFloat32.
  virtual Status Read(Arena arena, int64_t first, int64_t n, DType type, void* out) = 0;
  // Not kGradients; kMaster with dtype kBFloat16 alone. A value is rounded to dtype, its master with it.
  virtual Status Write(Arena arena, int64_t first, int64_t n, const float* values) = 0;
  // The same from byte `offset` of an open file (tensor_file.h), which is read before it returns. kCorrupt for moments
  // and masters that no step leaves. On failure the range holds garbage.
  virtual Status Load(Arena arena, int64_t first, int64_t n, int fd, int64_t offset, DType type) = 0;
  // Gives the moments back: Has is false again.
  virtual void DropMoments() = 0;
  // Another of the same values, without gradients and optimizer state.
  virtual Status Clone(std::unique_ptr<Network>* copy) = 0;

  // --- A micro-batch: Forward, then stages that work on its queries. ---

  // The hidden states of the queries after the final norm stay in the network until the next Forward or Prefill.
  virtual Status Forward(const PackedBatch& batch, Keep keep) = 0;
  // logprob, entropy (or null), top1 (or null) [count], kOutOfRange, kNonFinite as token_logprob.
  virtual Status Score(const ScoredTokens& tokens, float* logprob, float* entropy, int32_t* top1) = 0;
  // Hidden states of some queries, [n, hidden].
  virtual Status States(int64_t n, const int32_t* queries, float* states) = 0;
  // Logits of all queries, [queries, vocab].
  virtual Status Logits(float* logits) = 0;

  // Then, after a Forward that kept something and ClearGradients: the loss of the queries, or the gradient of States
  // from elsewhere; and Backward, once. Both add to the gradients: those of a batch are sums over its micro-batches.
  //
  // batch: offsets and inputs by scored token. Leaves the gradient of the hidden states for Backward, adds that of the
  // output head. kNonFinite as clipped_loss; *sums: of this micro-batch. top1 [count] as token_logprob.
  virtual Status Loss(const ScoredTokens& tokens, const LossBatch& batch, const LossParams& params, LossSums* sums,
                      int32_t* top1) = 0;
  // d_states [n, hidden], for Backward.
  virtual Status SetStateGradients(int64_t n, const int32_t* queries, const float* d_states) = 0;
  // Adds the gradients of all parameters but the output head's. What Forward kept is used up.
  virtual Status Backward() = 0;

  // --- The optimizer. ---

  virtual Status ClearGradients() = 0;
  // The sum of the squares of all gradients, in float64.
  virtual Status SumSquares(double* sum) = 0;
  // A step of the matrices and one of the vectors (norms, biases); makes moments and masters. *applied false, and
  // nothing changed, where a value or a moment would not be finite after it.
  virtual Status Step(const AdamWStep& matrices, const AdamWStep& vectors, bool* applied) = 0;

  // --- Generation: BeginDecode; Prefill, Start and Decode as often as it takes; EndDecode. Values do not change. ---

  // *slots: how many there are. Known at return.
  virtual Status BeginDecode(const DecodePlan& plan, int64_t* slots) = 0;
  // Reads a window of prompts, in place of the one before: their keys, values and next-token logits are kept. One query
  // per prompt, its last token.
  virtual Status Prefill(const PackedBatch& prompts) = 0;
  // Fills slots (free, or with a completion that is over) with prompts of the window, and draws their first tokens [n].
  virtual Status Start(int64_t n, const SlotStart* starts, SampledToken* tokens) = 0;
  // The next tokens [n] of these slots, which rise. A slot continues from the token that it drew last; it holds as many
  // as the plan says. A draw depends on the slot's key, stream and count of tokens alone, not on the other slots.
  virtual Status Decode(int64_t n, const int64_t* slots, SampledToken* tokens) = 0;
  // Gives back what is too large to keep.
  virtual void EndDecode() = 0;
};

// A network whose values are all 0. The one place that knows which devices there are.
Status MakeNetwork(const ModelConfig& config, DType dtype, std::unique_ptr<Network>* network);

// What a network takes at its peak, with all that it keeps from call to call, in bytes: doubles, since what is asked
// for may be more than any machine has.
struct MemorySettings {
  DType dtype;
  bool training;               // updates; else log-probabilities alone
  bool recompute;              // Keep::kInputs
  int64_t micro_batch_tokens;  // that go through the network at once
  int64_t slots;               // of generation,
  int64_t prompt_tokens;       // and its longest prompt
  int64_t new_tokens;          // 0: none is generated
};
struct MemoryNeeds {
  double weights, gradients, optimizer;
  double activations;  // all that is none of the others
  double kv_cache, logits;
  double scratch;  // of the process, however many networks it has
};
MemoryNeeds NetworkMemory(const ModelConfig& config, const MemorySettings& settings);

}  // namespace prl
