// The one-sweep inner loop at token level: a row's statistics, its token's loss, its gradient while it is in cache.
// Shared by the CPU skeletons of policy_loss and linear_logprob.
#pragma once

#include "kernels/clipped_loss/clipped_loss_state.h"
#include "kernels/token_logprob/token_logprob_row.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {

struct LossSweep {
  const LossBatch& batch;
  const LossParams& params;
  const SequenceState* state;
  const int32_t* targets;  // of all tokens, as are the outputs
  float* logprob;
  float* entropy;
  float* d_logprob;
  float* d_entropy;
  float temperature;
  int64_t vocab, stride;
  int32_t* top1 = nullptr;  // as in token_logprob
};

// Rows of tokens first .. first + rows - 1; `logits` and `d_logits` point at the first of them and may be the same.
// A gradient that is not finite is written as it is: the sums over the tokens, taken afterwards, find it and say so.
template <typename T>
static inline void SweepRows(const LossSweep& s, int64_t first, int64_t rows, const T* logits, T* d_logits,
                             int64_t* first_bad) {
  const float inv_temperature = 1.0f / s.temperature;
  const float entropy_gradient = (float)EntropyGradient(s.params);
  ParallelRows(rows, RowsPerTask(s.vocab), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t t = first + r;
      const T* row = logits + r * s.stride;
      T* out = d_logits + r * s.stride;
      float d_logprob = 0.0f, d_entropy = 0.0f;
      RowStats stats = EmptyStats();
      RowResult result = {};
      RowWork work;
      if (IsActive(s.batch, t)) {
        const float target_logit = ToFloat(row[s.targets[t]]);
        stats = StatsBeforeGradient(row, out, s.vocab, inv_temperature, entropy_gradient != 0.0f, &work);
        if (RowIsBad(stats)) {
          NoteBadRow(first_bad, t, stats);
          continue;
        }
        result = FinishRow(stats, target_logit, inv_temperature);
        const int64_t i = SequenceOf(s.batch, t);
        const TokenInputs<double> in = InputsOfToken(s.batch, i, t, result.logprob, &result.entropy);
        const double ratio = exp(in.log_ratio), weight = s.state[i].weight;
        const TokenLoss<double> token = LossOfToken(s.params, in, ratio, SequenceTerms{});
        d_logprob = (float)(weight * (token.d_direct + token.d_ratio * ratio));
        d_entropy = entropy_gradient;
      }
      s.logprob[t] = result.logprob;
      s.entropy[t] = result.entropy;
      if (s.top1) s.top1[t] = result.top1;
      s.d_logprob[t] = d_logprob;
      s.d_entropy[t] = d_entropy;
      if (d_logprob == 0.0f && d_entropy == 0.0f) {
        memset(out, 0, (size_t)s.vocab * sizeof(T));
      } else {
        GradientOfRow(row, out, s.vocab, s.targets[t], stats, result, d_logprob, d_entropy, inv_temperature, work);
      }
    }
  });
}

}  // namespace PRL_ISA
}  // namespace prl
