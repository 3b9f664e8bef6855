#include "model/layers/attention.h"

#include "runtime/cpu/gemm.h"
#include "runtime/cpu/simd.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

// A tile of scores: 8 KB, in the first-level cache. Tiles start at fixed positions of the sequence's keys.
constexpr int64_t kQueryTile = 32;
constexpr int64_t kKeyTile = 64;

// One head of one sequence.
struct Head {
  int64_t queries, first;  // query rows, position of the first
  int64_t keys;
  int64_t q_row, kv_row, lse_row;
  const float *q, *k, *v;
  int64_t q_offset, k_offset, v_offset;  // of the same places in d_q, d_kv, d_kv
  int64_t lse_offset;
};

Head HeadOf(const AttentionArgs& args, int64_t sequence, int64_t head) {
  const int64_t d = args.head_dim, row = args.cu_queries[sequence], key = args.cu_seqlens[sequence];
  Head h;
  h.queries = args.cu_queries[sequence + 1] - row;
  h.first = args.query_begin[sequence];
  h.keys = args.cu_seqlens[sequence + 1] - key;
  h.q_row = args.heads * d;
  h.kv_row = 2 * args.kv_heads * d;
  h.lse_row = args.heads;
  h.q_offset = row * h.q_row + head * d;
  h.k_offset = key * h.kv_row + head / (args.heads / args.kv_heads) * d;
  h.v_offset = h.k_offset + args.kv_heads * d;
  h.lse_offset = row * h.lse_row + head;
  h.q = args.q + h.q_offset;
  h.k = args.kv + h.k_offset;
  h.v = args.kv + h.v_offset;
  return h;
}

// scores[rows, cols] = a . b^T over head_dim, both given by rows.
void RowProducts(int64_t rows, int64_t cols, int64_t d, const float* a, int64_t a_row, const float* b, int64_t b_row, float* scores) {
  GemmCpu({rows, cols, d, a, a_row, 1, b, 1, b_row, scores, kKeyTile, false, nullptr});
}

int64_t RoundUp(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

void ForwardTile(const Head& h, int64_t d, float scale, int64_t q0, int64_t rows, float* out, float* lse) {
  float scores[kQueryTile * kKeyTile];
  float max[kQueryTile], sum[kQueryTile];
  for (int64_t r = 0; r < rows; ++r) {
    max[r] = -__builtin_inff();
    sum[r] = 0.0f;
  }
  const int64_t end = h.first + q0 + rows;  // keys that the last row sees
  for (int64_t k0 = 0; k0 < end; k0 += kKeyTile) {
    const int64_t cols = end - k0 < kKeyTile ? end - k0 : kKeyTile, padded = RoundUp(cols);
    RowProducts(rows, cols, d, h.q + q0 * h.q_row, h.q_row, h.k + k0 * h.kv_row, h.kv_row, scores);
    for (int64_t r = 0; r < rows; ++r) {
      float* s = scores + r * kKeyTile;
      // Keys after the row's own position; all of the tile for a row that ends before it, which leaves the row as it is.
      const int64_t seen = h.first + q0 + r + 1 - k0;
      for (int64_t j = seen > 0 ? seen : 0; j < padded; ++j) s[j] = -__builtin_inff();
      VF m = Splat(max[r]);
      for (int64_t j = 0; j < padded; j += kLanes) m = Max(Load(s + j), m);
      const float top = ReduceMax(m);
      VF total{};
      for (int64_t j = 0; j < padded; j += kLanes) {
        const VF e = ExpNonPositive((Load(s + j) - top) * scale);
        total += e;
        Store(s + j, e);
      }
      if (k0 > 0 && top > max[r]) {
        const float shrink = __builtin_expf((max[r] - top) * scale);
        sum[r] *= shrink;
        float* o = out + (q0 + r) * h.q_row;
        for (int64_t i = 0; i < d; ++i) o[i] *= shrink;
      }
      max[r] = top;
      sum[r] += ReduceAdd(total);
    }
    GemmCpu({rows, d, cols, scores, kKeyTile, 1, h.v + k0 * h.kv_row, h.kv_row, 1, out + q0 * h.q_row, h.q_row, k0 > 0, nullptr});
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* o = out + (q0 + r) * h.q_row;
    const float inverse = 1.0f / sum[r];
    for (int64_t i = 0; i < d; ++i) o[i] *= inverse;
    if (lse) lse[(q0 + r) * h.lse_row] = max[r] * scale + __builtin_logf(sum[r]);
  }
}

// d_out of a tile of queries against a tile of keys, added to the three gradients.
struct BackwardTile {
  const Head& h;
  int64_t d;
  float scale;
  const float *out, *d_out, *lse;
  float *d_q, *d_k, *d_v;

  void Run(int64_t q0, int64_t rows) const {
    float p[kQueryTile * kKeyTile], dp[kQueryTile * kKeyTile], along[kQueryTile];
    for (int64_t r = 0; r < rows; ++r) {
      const float *o = out + (q0 + r) * h.q_row, *g = d_out + (q0 + r) * h.q_row;
      VF total{};
      int64_t i = 0;
      for (; i + kLanes <= d; i += kLanes) total += Load(o + i) * Load(g + i);
      if (i < d) total += LoadPartial(o + i, (int)(d - i), 0.0f) * LoadPartial(g + i, (int)(d - i), 0.0f);
      along[r] = ReduceAdd(total);
    }
    const int64_t end = h.first + q0 + rows;
    for (int64_t k0 = 0; k0 < end; k0 += kKeyTile) {
      const int64_t cols = end - k0 < kKeyTile ? end - k0 : kKeyTile, padded = RoundUp(cols);
      const float *q = h.q + q0 * h.q_row, *k = h.k + k0 * h.kv_row, *g = d_out + q0 * h.q_row;
      RowProducts(rows, cols, d, q, h.q_row, k, h.kv_row, p);
      RowProducts(rows, cols, d, g, h.q_row, h.v + k0 * h.kv_row, h.kv_row, dp);
      for (int64_t r = 0; r < rows; ++r) {
        float *pr = p + r * kKeyTile, *dr = dp + r * kKeyTile;
        const int64_t seen = h.first + q0 + r + 1 - k0;
        for (int64_t j = seen > 0 ? seen : 0; j < padded; ++j) {
          pr[j] = -__builtin_inff();
          dr[j] = 0.0f;
        }
        const float shift = lse[(q0 + r) * h.lse_row];
        for (int64_t j = 0; j < padded; j += kLanes) {
          const VF probability = Exp(Load(pr + j) * scale - shift);
          Store(pr + j, probability);
          Store(dr + j, probability * (Load(dr + j) - along[r]) * scale);
        }
      }
      GemmCpu({cols, d, rows, p, 1, kKeyTile, g, h.q_row, 1, d_v + k0 * h.kv_row, h.kv_row, true, nullptr});
      GemmCpu({cols, d, rows, dp, 1, kKeyTile, q, h.q_row, 1, d_k + k0 * h.kv_row, h.kv_row, true, nullptr});
      GemmCpu({rows, d, cols, dp, kKeyTile, 1, k, h.kv_row, 1, d_q + q0 * h.q_row, h.q_row, k0 > 0, nullptr});
    }
  }
};

}  // namespace

void AttentionCpu(const AttentionArgs& args) {
  const float scale = 1.0f / __builtin_sqrtf((float)args.head_dim);
  ParallelFor(args.sequences * args.heads, [&](int64_t task) {
    const Head h = HeadOf(args, task / args.heads, task % args.heads);
    for (int64_t q0 = 0; q0 < h.queries; q0 += kQueryTile) {
      const int64_t rows = h.queries - q0 < kQueryTile ? h.queries - q0 : kQueryTile;
      ForwardTile(h, args.head_dim, scale, q0, rows, args.out + h.q_offset, args.lse ? args.lse + h.lse_offset : nullptr);
    }
  });
}

void AttentionBackwardCpu(const AttentionBackwardArgs& args) {
  const AttentionArgs& f = args.forward;
  const float scale = 1.0f / __builtin_sqrtf((float)f.head_dim);
  const int64_t d = f.head_dim, group = f.heads / f.kv_heads;
  // The heads that share keys and values add to the same gradients: one task, in order.
  ParallelFor(f.sequences * f.kv_heads, [&](int64_t task) {
    const int64_t sequence = task / f.kv_heads, first_head = task % f.kv_heads * group;
    for (int64_t head = first_head; head < first_head + group; ++head) {
      const Head h = HeadOf(f, sequence, head);
      if (head == first_head) {
        for (int64_t j = 0; j < h.keys; ++j) {
          memset(args.d_kv + h.k_offset + j * h.kv_row, 0, (size_t)d * sizeof(float));
          memset(args.d_kv + h.v_offset + j * h.kv_row, 0, (size_t)d * sizeof(float));
        }
      }
      const BackwardTile tile{h, d, scale, f.out + h.q_offset, args.d_out + h.q_offset, f.lse + h.lse_offset,
                              args.d_q + h.q_offset, args.d_kv + h.k_offset, args.d_kv + h.v_offset};
      for (int64_t q0 = 0; q0 < h.queries; q0 += kQueryTile) {
        tile.Run(q0, h.queries - q0 < kQueryTile ? h.queries - q0 : kQueryTile);
      }
    }
  });
}

}  // namespace PRL_ISA
}  // namespace prl
