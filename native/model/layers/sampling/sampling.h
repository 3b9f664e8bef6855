// CONTRACT of sampling: one row of logits -> one token and its log-probability.
//
//   p = softmax(logits / temperature); the token is drawn from p by inversion: the first j with p_0 + ... + p_j > u,
//   where u in (0, 1) is made of (key, stream, position) by a counter-based generator: no state, no order.
//   temperature 0: the first of the largest logits; its log-probability is taken at temperature 1.
//   top_k > 0 keeps the k likeliest, then top_p < 1 the smallest set of likeliest tokens whose share of what top_k kept
//   reaches top_p (at least one); the draw is from the kept ones, equal ones in order of their index.
//   logprob is log p of the token BEFORE top_k and top_p, so that it equals what token_logprob says of the same row.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

struct SamplingParams {
  float temperature;
  int32_t top_k;  // 0: all
  float top_p;    // 1: all
};

struct SampleArgs {
  const float* logits;  // [vocab]
  int64_t vocab;
  SamplingParams params;
  uint64_t key, stream, position;
};

struct SampledToken {
  int32_t token;  // -1: the row has no softmax (a NaN, +inf, or nothing but -inf)
  float logprob;
};

PRL_CPU_ENTRY(SampledToken, SampleCpu, (const SampleArgs& args), (args))

// The tokens that top_k and top_p keep, likeliest first, with weights e^((logit - max) / temperature) and their sum.
// Memory of the calling thread, valid until its next call.
struct Candidates {
  const int32_t* token;
  const double* weight;
  int64_t count;
  double total;
};
Candidates KeepLikeliest(const SampleArgs& args, float max, double sum);

}  // namespace prl
