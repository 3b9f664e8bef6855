// CONTRACT of decode_attention: one new token per sequence against that sequence's cache of keys and values.
//
//   out[r, h] = sum_j softmax_j(q[r, h] . k_j / sqrt(head_dim)) v_j,  j = 0 .. length[r]-1,  heads as in attention.h
//
// The cache of one sequence and layer, `capacity` positions (a multiple of kCacheBlock):
//   keys    [kv_heads][capacity / kCacheBlock][head_dim][kCacheBlock]: kCacheBlock positions side by side, so that
//           their scores are made together without adding across lanes
//   values  [kv_heads][capacity][head_dim]
// What lies beyond length[r] is never used, whatever it holds. Rows are independent. Runs on the calling thread.
#pragma once

#include <cstdint>

#include "runtime/cpu/isa.h"

namespace prl {

constexpr int64_t kCacheBlock = 16;

struct DecodeAttentionArgs {
  int64_t rows, heads, kv_heads, head_dim, capacity;
  const float* q;              // [rows, heads * head_dim], rotated
  const float* const* keys;    // [rows] caches
  const float* const* values;  // [rows]
  const int32_t* lengths;      // [rows], at least 1
  float* out;                  // [rows, heads * head_dim]
};

PRL_CPU_ENTRY(void, DecodeAttentionCpu, (const DecodeAttentionArgs& args), (args))

// Puts `count` rows of keys and values (kv [count, 2 * kv_heads * head_dim], as attention.h has them) at positions
// `first`, ...
static inline void StoreInCache(int64_t count, int64_t first, int64_t kv_heads, int64_t head_dim, int64_t capacity,
                                const float* kv, float* keys, float* values) {
  for (int64_t r = 0; r < count; ++r) {
    const float* row = kv + r * 2 * kv_heads * head_dim;
    const int64_t p = first + r;
    for (int64_t h = 0; h < kv_heads; ++h) {
      float* key = keys + (h * capacity + p / kCacheBlock * kCacheBlock) * head_dim + p % kCacheBlock;
      float* value = values + (h * capacity + p) * head_dim;
      for (int64_t i = 0; i < head_dim; ++i) key[i * kCacheBlock] = row[h * head_dim + i];
      for (int64_t i = 0; i < head_dim; ++i) value[i] = row[(kv_heads + h) * head_dim + i];
    }
  }
}

}  // namespace prl
