#include "model/layers/decode_attention/decode_attention.h"

#include "runtime/cpu/scratch.h"
#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {
namespace {

constexpr int kVectors = (int)(kCacheBlock / kLanes);  // in one block of positions

// Scores of kBlocks blocks of positions. Enough independent chains of additions to keep the adders busy.
template <int kBlocks>
inline __attribute__((always_inline)) void ScoreBlocks(const float* q, const float* keys, int64_t d, float* scores) {
  VF sum[kBlocks * kVectors];
  for (VF& s : sum) s = VF{};
  for (int64_t i = 0; i < d; ++i) {
    const VF x = Splat(q[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kBlocks * kVectors; ++v) {
      sum[v] += x * Load(keys + (v / kVectors) * d * kCacheBlock + i * kCacheBlock + (v % kVectors) * kLanes);
    }
  }
  for (int v = 0; v < kBlocks * kVectors; ++v) Store(scores + v * kLanes, sum[v]);
}

// Scores of a head; -inf from `length` to the end of its block. Returns the largest.
float Scores(const float* q, const float* keys, int64_t d, int64_t length, float* scores) {
  const int64_t end = (length + kCacheBlock - 1) / kCacheBlock * kCacheBlock;
  int64_t p = 0;
  for (; p + 2 * kCacheBlock <= end; p += 2 * kCacheBlock) ScoreBlocks<2>(q, keys + p * d, d, scores + p);
  if (p < end) ScoreBlocks<1>(q, keys + p * d, d, scores + p);
  for (int64_t j = length; j < end; ++j) scores[j] = -__builtin_inff();
  VF max = Splat(-__builtin_inff());
  for (int64_t j = 0; j < end; j += kLanes) max = Max(Load(scores + j), max);
  return ReduceMax(max);
}

// out = sum_j weight_j value_j / total, four vectors of head_dim at a time, even and odd positions apart.
void WeightedSum(const float* weight, const float* values, int64_t d, int64_t length, float inverse, float* out) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) {
    VF even[4] = {}, odd[4] = {};
    int64_t j = 0;
    for (; j + 2 <= length; j += 2) {
      const float* v = values + j * d + i;
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        even[c] += weight[j] * Load(v + c * kLanes);
        odd[c] += weight[j + 1] * Load(v + d + c * kLanes);
      }
    }
    for (int c = 0; c < 4; ++c) {
      if (j < length) even[c] += weight[j] * Load(values + j * d + i + c * kLanes);
      Store(out + i + c * kLanes, (even[c] + odd[c]) * inverse);
    }
  }
  for (; i + kLanes <= d; i += kLanes) {
    VF a{};
    for (int64_t j = 0; j < length; ++j) a += weight[j] * Load(values + j * d + i);
    Store(out + i, a * inverse);
  }
  for (; i < d; ++i) {
    float a = 0.0f;
    for (int64_t j = 0; j < length; ++j) a += weight[j] * values[j * d + i];
    out[i] = a * inverse;
  }
}

}  // namespace

void DecodeAttentionCpu(const DecodeAttentionArgs& args) {
  const int64_t d = args.head_dim, group = args.heads / args.kv_heads;
  const float scale = 1.0f / __builtin_sqrtf((float)d);
  float* scores = ThreadScratch(kScratchAttention, args.capacity);
  for (int64_t r = 0; r < args.rows; ++r) {
    const int64_t length = args.lengths[r];
    for (int64_t h = 0; h < args.heads; ++h) {
      const int64_t cache = h / group * args.capacity * d;
      const float max = Scores(args.q + (r * args.heads + h) * d, args.keys[r] + cache, d, length, scores);
      VF total{};
      for (int64_t p = 0; p < length; p += kLanes) {
        const VF e = ExpNonPositive((Load(scores + p) - max) * scale);
        Store(scores + p, e);
        total += e;
      }
      WeightedSum(scores, args.values[r] + cache, d, length, 1.0f / ReduceAdd(total),
                  args.out + (r * args.heads + h) * d);
    }
  }
}

}  // namespace PRL_ISA
}  // namespace prl
