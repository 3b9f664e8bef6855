// The policy network as one object: weights, gradients, optimizer moments, workspace; and what is done with them:
// scoring sequences, gradients of the policy loss, optimizer steps. Knows nothing of Node; one operation at a time (the
// caller sees to it).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/clipped_loss/clipped_loss.h"
#include "kernels/linear_logprob/linear_logprob.h"
#include "model/config.h"
#include "model/cpu/transformer.h"
#include "model/generate.h"
#include "model/layers/adamw/adamw_math.h"
#include "model/parameters.h"
#include "runtime/buffer.h"
#include "runtime/status.h"

namespace prl {

// Sequences, packed: ids of all, offsets, and where in each the scored tokens begin (at least 1: the first token has no
// prediction; at most its length). Scored tokens of all sequences, packed, are what outputs and token-wise inputs run
// over.
struct Sequences {
  std::vector<int32_t> ids, cu_seqlens, start;
  float temperature;
  int64_t micro_batch_tokens;

  int64_t count() const { return static_cast<int64_t>(start.size()); }
  // Offsets of the scored tokens, [count + 1].
  std::vector<int32_t> ScoredOffsets() const;
};

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

struct OptimizerParams {
  double learning_rate, weight_decay, beta1, beta2, epsilon;
  double max_grad_norm;  // infinity: no clipping
};

// Step number `steps` (from 1) of a parameter, `norm` the global one before clipping.
AdamWStep StepOf(const OptimizerParams& params, int64_t steps, double norm, bool decays);

// kMaster: the float32 values behind a policy stored in bfloat16, from its first step on.
enum class Arena { kValues, kGradients, kMoment1, kMoment2, kMaster };

class Policy {
 public:
  // dtype: kFloat32 or kBFloat16. All values are 0.
  Policy(const ModelConfig& model_config, DType storage);

  const ModelConfig config;
  const Layout layout;
  const DType dtype;

  void Initialize(uint64_t seed);
  std::unique_ptr<Policy> Clone() const;

  // Copies of a parameter, in any floating-point type (masters: float32); Read: of n of its values from `first` on.
  // Read is false, `out` untouched, for gradients that were not computed, and moments and masters before the first
  // step; Write makes them, but for gradients, where it is false. A value that is written is rounded to the policy's
  // type, its master with it.
  bool Read(Arena arena, const Parameter& parameter, int64_t first, int64_t n, DType type, void* out);
  bool Write(Arena arena, const Parameter& parameter, const float* values);
  // The same from a place in a file (tensor_file.h); not for gradients. kCorrupt for moments and masters that no step
  // leaves.
  Status Load(Arena arena, const Parameter& parameter, int fd, int64_t offset, DType type);
  Weights weights() const;
  Generator& generator() { return generator_; }

  int64_t steps = 0;  // optimizer steps so far
  void ResetOptimizer();

  // logprob, entropy (or null): [scored tokens].
  Status LogProbs(const Sequences& sequences, float* logprob, float* entropy);
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
  // Gradients of the loss, in place of those that were there, their global norm and the sums behind the metrics.
  // `finite` false: a logit, the loss or the norm was not finite.
  Status ComputeGradients(const TrainingBatch& batch, LossSums* sums, double* norm, bool* finite);
  // One AdamW step with the gradients as they are, clipped to max_grad_norm. False, and nothing changed, where a weight
  // or a moment would not be finite after it.
  bool Step(const OptimizerParams& params, double norm);

  // Asks the operation that runs to end at the next micro-batch, with kAborted.
  std::atomic<bool> cancelled{false};

 private:
  Status ScoreTokens(const std::vector<int32_t>& queries, const std::vector<int32_t>& targets, const float* hidden,
                     float temperature, float* logprob, float* entropy);
  void Changed(const Parameter& parameter);
  void MakeOptimizer();
  LinearLogprobArgs HeadOf(const float* hidden, const std::vector<int32_t>& targets, int64_t sequences,
                           float temperature, float* logprob, float* entropy);

  Buffer<float> values_;  // the arena; of a policy in bfloat16 float32 copies of the vectors
  Buffer<BFloat16> bf16_;
  Buffer<uint16_t> low_;  // with bf16_ the masters (adamw.h); all 0 until the first step
  Buffer<float> gradients_, moment1_, moment2_, workspace_;
  Buffer<float> hidden_, d_hidden_;  // of the scored tokens of a micro-batch
  Buffer<double> partial_;
  bool has_gradients_ = false, has_moments_ = false, has_masters_ = false;
  Transformer transformer_;
  Generator generator_{config, layout, transformer_};
};

}  // namespace prl
