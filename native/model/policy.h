// The policy network as one object, and what is done with it: scoring sequences, gradients of the policy loss,
// optimizer steps, generation. The same on every device: it knows its network by model/network.h alone. Knows nothing
// of Node; one operation at a time (the caller sees to it). A failed call leaves values and optimizer state untouched.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "kernels/clipped_loss/clipped_loss.h"
#include "model/generate.h"
#include "model/micro_batch.h"
#include "model/network.h"
#include "model/optimizer.h"
#include "runtime/buffer.h"
#include "runtime/status.h"

namespace prl {

// Sequences with what the loss needs of their scored tokens; absent inputs are empty.
struct TrainingBatch {
  Sequences sequences;
  bool recompute;  // activations: less memory, more time, the same bits
  std::vector<float> advantages;
  bool advantages_per_token;
  std::vector<float> old_logprob, ref_logprob, importance_weight, sampling_logprob;
  std::vector<int32_t> mask;
  LossParams loss;
};

class Policy {
 private:
  std::unique_ptr<Network> network_;

 public:
  explicit Policy(std::unique_ptr<Network> network);

  const ModelConfig& config;
  const Layout& layout;
  const DType dtype;

  Status Initialize(uint64_t seed);
  Status Clone(std::unique_ptr<Policy>* copy) const;

  // Whether there is such an arena: gradients that were computed; moments and masters after the first step.
  bool Has(Arena arena) const;
  bool Writable(Arena arena) const;  // all but gradients, and masters of a policy in float32
  // Copies of a parameter in an arena that there is, in any floating-point type (masters: float32): of n of its values
  // from `first` on.
  Status Read(Arena arena, const Parameter& parameter, int64_t first, int64_t n, DType type, void* out);
  // A value that is written is rounded to the policy's type, its master with it.
  Status Write(Arena arena, const Parameter& parameter, const float* values);
  // The same from a place in a file (tensor_file.h). kCorrupt for moments and masters that no step leaves.
  Status Load(Arena arena, const Parameter& parameter, int fd, int64_t offset, DType type);

  int64_t steps = 0;  // optimizer steps so far
  void ResetOptimizer();

  // logprob, entropy (or null), top1 (or null): [scored tokens].
  Status LogProbs(const Sequences& sequences, float* logprob, float* entropy, int32_t* top1);
  // Hidden states (after the final norm) of the last token of each step [steps, hidden], and log-probabilities of the
  // scored tokens; either may be null. `ends`: the steps' last tokens among the scored ones, rising. *tokens: those
  // that the network read.
  Status StepStates(const Sequences& sequences, const std::vector<int32_t>& ends, float* states, float* logprob,
                    int64_t* tokens);
  // A loss of those hidden states: states [steps, hidden] of the steps from `first` on -> their gradient. Called once
  // per micro-batch.
  using StepLoss = std::function<Status(int64_t first, int64_t steps, const float* states, float* d_states)>;
  // The backbone's gradients of it, in place of those that were there, and the sum of their squares.
  Status StepGradients(const Sequences& sequences, const std::vector<int32_t>& ends, const StepLoss& loss,
                       double* sum_squares);
  // Logits of every position of one sequence, [ids, vocab].
  Status Logits(const std::vector<int32_t>& ids, float* logits);
  // Gradients of the loss, in place of those that were there, their global norm and the sums behind the metrics; *top1:
  // how many active tokens no other token is more likely than. `finite` false: a logit, the loss or the norm was not.
  Status ComputeGradients(const TrainingBatch& batch, LossSums* sums, int64_t* top1, double* norm, bool* finite);
  // One AdamW step with the gradients as they are, clipped to max_grad_norm. *applied false, and nothing changed, where
  // a weight or a moment would not be finite after it.
  Status Step(const OptimizerParams& params, double norm, bool* applied);
  Status Generate(const GenerateRequest& request, const std::function<void(const GenerateProgress&)>& progress,
                  std::vector<GeneratedCompletion>* completions);

  // Asks the operation that runs to end at the next micro-batch, or the next token, with kAborted.
  std::atomic<bool> cancelled{false};

 private:
  Status Settle(const Status& stage) const;
  template <typename F>
  Status EachMicroBatch(const Sequences& all, bool whole, const char* what, const F& run);

  bool has_gradients_ = false;
  Buffer<float> states_, d_states_;
};

}  // namespace prl
