// CONTRACT of attention: causal softmax attention over packed sequences, grouped key-value heads (Ainslie et al.,
// arXiv 2305.13245), scores in tiles and never stored whole (Dao et al., FlashAttention, arXiv 2205.14135).
//
//   of query row i at position p of its sequence, head h, key-value head g = h / (heads / kv_heads):
//   s_j = q_i . k_j / sqrt(head_dim), j = 0..p        out_i = sum_j softmax(s)_j v_j        lse_i = log sum_j e^(s_j)
//
//   kv  [tokens, 2 * kv_heads * head_dim] float32: a row holds the key heads, then the value heads; sequence b owns
//       rows cu_seqlens[b] .. cu_seqlens[b+1]-1, at positions 0, 1, ...
//   q, out [queries, heads * head_dim]: of sequence b the rows cu_queries[b] .. cu_queries[b+1]-1 are its rows from
//       query_begin[b] on (all of them, or only those whose result is wanted)
//   prefix [sequences] or null: an earlier sequence that comes before sequence b, whose keys b's queries see first, or
//       -1. A prefix has none itself; the sequences that share one follow it directly. (A prompt and the completions of
//       its group: the prompt goes through the network once.)
//   lse [queries, heads], or null when no backward pass follows
// Backward: d_q and d_kv are written whole (zero for a key that no query sees).
// A query's result does not depend on the other queries or sequences, a gradient not on the number of threads.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

struct AttentionArgs {
  int64_t sequences, heads, kv_heads, head_dim;
  const int32_t* cu_seqlens;
  const int32_t* cu_queries;
  const int32_t* query_begin;
  const int32_t* prefix;
  const float* q;
  const float* kv;
  float* out;
  float* lse;
};

struct AttentionBackwardArgs {
  AttentionArgs forward;  // with out and lse as the forward pass left them
  const float* d_out;
  float* d_q;
  float* d_kv;
};

PRL_CPU_ENTRY(void, AttentionCpu, (const AttentionArgs& args), (args))
PRL_CPU_ENTRY(void, AttentionBackwardCpu, (const AttentionBackwardArgs& args), (args))

}  // namespace prl
