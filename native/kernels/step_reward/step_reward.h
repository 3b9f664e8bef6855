// CONTRACT of step_reward: log-probabilities of two policies -> token advantages with future divergence.
// PRL (arXiv 2601.10201v1) and FRPO, future-KL regularised GRPO (its v2).
//
//   d_t = old_t - ref_t (constants, no gradient)        u_t = exp(-d_t)
//   value_t = [local(d_t) if inclusive] + sum_{j > t, same sequence} future(d_j)
//             [- (tokens after t) * mean future of the batch]
//   out_t = outcome_i - scale * value_{b(t)},   b(t) the last token of the step that holds t
//
//   generator        future f(u)         local f(u) - f'(u) u
//   reverse k1       -log u = d          d                      (its constant 1 shifts all advantages alike: dropped)
//   reverse k3       -log u + u - 1      d
//   forward k1       u log u             -u
//   forward k3       u log u - u + 1     1 - u
//
// PRL: reverse k1, scale 1 / eta, steps. FRPO: steps of one token (cu_steps null), scale beta. The published PRL code
// fills a step with "the next value that is not 0", so that a step end of exactly 0 is lost; here a step's own value is
// its own.
//
// Sums run from the end of a sequence to its start in double, step by step, or where each token is one vector by
// vector: the same bits for any number of threads. out overlaps no input. An input that is not finite is named before
// anything is written; an advantage that overflows is named by the last token of its step, and out then holds garbage.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sequence_parts.h"
#include "runtime/cpu/isa.h"
#include "runtime/cuda/entry.h"
#include "runtime/status.h"

namespace prl {

// The numbers cross the boundary: add, never renumber.
enum class Generator : int32_t { kReverseK1 = 0, kReverseK3 = 1, kForwardK1 = 2, kForwardK3 = 3 };

struct StepRewardArgs {
  int64_t tokens, sequences;
  const int32_t* cu_seqlens;  // [sequences + 1], rising from 0 to tokens
  int64_t steps;
  // [steps + 1], rising from 0 to tokens, holding every sequence start; null: each token is a step
  const int32_t* cu_steps;
  const float* outcome;      // [sequences]
  const float* old_logprob;  // [tokens]
  const float* ref_logprob;  // [tokens]
  Generator generator;
  double scale;
  bool inclusive;
  bool baseline;
  float* out;  // [tokens]
};

// Scalar arithmetic on few numbers, compiled once, where there are steps; else on the CPU's vectors.
Status StepRewardCpu(const StepRewardArgs& args);
// Of sequence i where each token is a step. Returns the last token whose advantage, or future sum, overflows, or
// INT64_MAX.
PRL_CPU_ENTRY(int64_t, TokenAdvantagesCpu, (const StepRewardArgs& args, int64_t i, double mean_future),
              (args, i, mean_future))

// Device pointers; queued, not run, when it returns (runtime/cuda/queue.h). One launch, one more with the baseline;
// where long sequences are spread over several blocks (kernels/sequence_parts.h) two, three with steps. The sums are
// those of the CPU in another order: the same at each run, and without a baseline the same whether or not sequences are
// spread. On a failure out holds garbage.
PRL_CUDA_ENTRY(StepRewardCuda, (const StepRewardArgs& args, const CudaCall& call))
// Bytes of workspace that it needs.
inline size_t StepRewardCudaWorkspace(const StepRewardArgs& args) {
  const int64_t parts = SequenceParts(args.tokens, args.sequences);
  return (size_t)(parts ? parts * kPartRounds : args.baseline ? args.sequences : 0) * sizeof(double);
}

}  // namespace prl
