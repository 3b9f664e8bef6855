#include "model/layers/decode_attention.h"

#include "runtime/cpu/scratch.h"
#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {
namespace {

constexpr int kVectors = (int)(kCacheBlock / kLanes);  // of one block of positions

// Scores of a head, a block of positions at a time; -inf past `length`. Returns the largest.
float Scores(const float* q, const float* keys, int64_t d, int64_t length, float* scores) {
  VF max = Splat(-__builtin_inff());
  for (int64_t p = 0; p < length; p += kCacheBlock) {
    const float* block = keys + p * d;
    VF sum[kVectors];
    for (int v = 0; v < kVectors; ++v) sum[v] = VF{};
    for (int64_t i = 0; i < d; ++i) {
      for (int v = 0; v < kVectors; ++v) sum[v] += q[i] * Load(block + i * kCacheBlock + v * kLanes);
    }
    for (int v = 0; v < kVectors; ++v) Store(scores + p + v * kLanes, sum[v]);
    for (int64_t j = length - p; j < kCacheBlock; ++j) scores[p + j] = -__builtin_inff();
    for (int v = 0; v < kVectors; ++v) max = Max(Load(scores + p + v * kLanes), max);
  }
  return ReduceMax(max);
}

// out = sum_j weight_j value_j / total, four vectors of head_dim at a time.
void WeightedSum(const float* weight, const float* values, int64_t d, int64_t length, float inverse, float* out) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= d; i += 4 * kLanes) {
    VF a{}, b{}, c{}, e{};
    for (int64_t j = 0; j < length; ++j) {
      const float* v = values + j * d + i;
      a += weight[j] * Load(v);
      b += weight[j] * Load(v + kLanes);
      c += weight[j] * Load(v + 2 * kLanes);
      e += weight[j] * Load(v + 3 * kLanes);
    }
    Store(out + i, a * inverse);
    Store(out + i + kLanes, b * inverse);
    Store(out + i + 2 * kLanes, c * inverse);
    Store(out + i + 3 * kLanes, e * inverse);
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
      WeightedSum(scores, args.values[r] + cache, d, length, 1.0f / ReduceAdd(total), args.out + (r * args.heads + h) * d);
    }
  }
}

}  // namespace PRL_ISA
}  // namespace prl
