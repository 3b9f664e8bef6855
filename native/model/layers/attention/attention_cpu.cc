#include "model/layers/attention/attention.h"

#include "runtime/cpu/gemm.h"
#include "runtime/cpu/scratch.h"
#include "runtime/cpu/simd.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

// A tile of scores: 8 KB, in the first-level cache. Tiles start at fixed positions of the sequence's keys.
constexpr int64_t kQueryTile = 32;
constexpr int64_t kKeyTile = 64;

// One head of one sequence. Keys are counted from the start of the prefix: the first `before` are the prefix's.
struct Head {
  int64_t queries, first;  // query rows, position of the first
  int64_t before, keys;
  int64_t d, q_row, kv_row, lse_row;
  const float *q, *kv;
  int64_t q_offset, lse_offset;       // of the same places in d_q and lse
  int64_t prefix_offset, own_offset;  // of the first key of each in kv and d_kv; its value is value_step further
  int64_t value_step;

  int64_t OffsetOf(int64_t key) const {
    return key < before ? prefix_offset + key * kv_row : own_offset + (key - before) * kv_row;
  }
};

Head HeadOf(const AttentionArgs& args, int64_t sequence, int64_t head) {
  const int64_t d = args.head_dim, row = args.cu_queries[sequence], prefix = args.prefix ? args.prefix[sequence] : -1;
  const int64_t kv_column = head / (args.heads / args.kv_heads) * d;
  Head h;
  h.d = d;
  h.q_row = args.heads * d;
  h.kv_row = 2 * args.kv_heads * d;
  h.lse_row = args.heads;
  h.value_step = args.kv_heads * d;
  h.before = prefix < 0 ? 0 : args.cu_seqlens[prefix + 1] - args.cu_seqlens[prefix];
  h.prefix_offset = prefix < 0 ? 0 : args.cu_seqlens[prefix] * h.kv_row + kv_column;
  h.own_offset = args.cu_seqlens[sequence] * h.kv_row + kv_column;
  h.keys = h.before + args.cu_seqlens[sequence + 1] - args.cu_seqlens[sequence];
  h.queries = args.cu_queries[sequence + 1] - row;
  h.first = h.before + args.query_begin[sequence];
  h.q_offset = row * h.q_row + head * d;
  h.lse_offset = row * h.lse_row + head;
  h.q = args.q + h.q_offset;
  h.kv = args.kv;
  return h;
}

// A tile of keys and values by rows: where they lie, or, where the tile holds the prefix's last and the sequence's
// first, gathered. (So tiles are the same whether a prefix is shared or not, and so are the numbers.)
struct KeyTile {
  const float *k, *v;
  int64_t row;
  bool gathered;
};

KeyTile TileOf(const Head& h, int64_t k0, int64_t cols, float* scratch) {
  if (!(k0 < h.before && k0 + cols > h.before)) {
    const float* k = h.kv + h.OffsetOf(k0);
    return {k, k + h.value_step, h.kv_row, false};
  }
  float *k = scratch, *v = scratch + kKeyTile * h.d;
  for (int64_t j = 0; j < cols; ++j) {
    const float* from = h.kv + h.OffsetOf(k0 + j);
    memcpy(k + j * h.d, from, (size_t)h.d * sizeof(float));
    memcpy(v + j * h.d, from + h.value_step, (size_t)h.d * sizeof(float));
  }
  return {k, v, h.d, true};
}

// scores[rows, cols] = a . b^T over head_dim, both given by rows.
void RowProducts(int64_t rows, int64_t cols, int64_t d, const float* a, int64_t a_row, const float* b, int64_t b_row,
                 float* scores) {
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
    const KeyTile tile = TileOf(h, k0, cols, ThreadScratch(kScratchAttention, 2 * kKeyTile * d));
    RowProducts(rows, cols, d, h.q + q0 * h.q_row, h.q_row, tile.k, tile.row, scores);
    for (int64_t r = 0; r < rows; ++r) {
      float* s = scores + r * kKeyTile;
      // Keys after the row's own position; all of the tile for a row that ends before it, which leaves the row as it
      // is.
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
    GemmCpu({rows, d, cols, scores, kKeyTile, 1, tile.v, tile.row, 1, out + q0 * h.q_row, h.q_row, k0 > 0, nullptr});
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
  float *d_q, *d_kv;

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
    const float *q = h.q + q0 * h.q_row, *g = d_out + q0 * h.q_row;
    const int64_t end = h.first + q0 + rows;
    for (int64_t k0 = 0; k0 < end; k0 += kKeyTile) {
      const int64_t cols = end - k0 < kKeyTile ? end - k0 : kKeyTile, padded = RoundUp(cols);
      float* scratch = ThreadScratch(kScratchAttention, 4 * kKeyTile * d);
      const KeyTile tile = TileOf(h, k0, cols, scratch);
      RowProducts(rows, cols, d, q, h.q_row, tile.k, tile.row, p);
      RowProducts(rows, cols, d, g, h.q_row, tile.v, tile.row, dp);
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
      // Gathered keys get their gradients in scratch first.
      float* d_k = tile.gathered ? scratch + 2 * kKeyTile * d : d_kv + h.OffsetOf(k0);
      float* d_v = tile.gathered ? scratch + 3 * kKeyTile * d : d_k + h.value_step;
      GemmCpu({cols, d, rows, p, 1, kKeyTile, g, h.q_row, 1, d_v, tile.row, !tile.gathered, nullptr});
      GemmCpu({cols, d, rows, dp, 1, kKeyTile, q, h.q_row, 1, d_k, tile.row, !tile.gathered, nullptr});
      GemmCpu({rows, d, cols, dp, kKeyTile, 1, tile.k, tile.row, 1, d_q + q0 * h.q_row, h.q_row, k0 > 0, nullptr});
      for (int64_t j = 0; tile.gathered && j < cols; ++j) {
        float* to = d_kv + h.OffsetOf(k0 + j);
        for (int64_t i = 0; i < d; ++i) to[i] += d_k[j * d + i];
        for (int64_t i = 0; i < d; ++i) to[h.value_step + i] += d_v[j * d + i];
      }
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
      ForwardTile(h, args.head_dim, scale, q0, rows, args.out + h.q_offset,
                  args.lse ? args.lse + h.lse_offset : nullptr);
    }
  });
}

void AttentionBackwardCpu(const AttentionBackwardArgs& args) {
  const AttentionArgs& f = args.forward;
  const float scale = 1.0f / __builtin_sqrtf((float)f.head_dim);
  const int64_t d = f.head_dim, group = f.heads / f.kv_heads;
  // The heads that share keys and values, and the sequences that share a prefix, add to the same gradients: one task,
  // in order.
  const auto is_root = [&](int64_t sequence) { return !f.prefix || f.prefix[sequence] < 0; };
  ParallelFor(f.sequences * f.kv_heads, [&](int64_t task) {
    const int64_t root = task / f.kv_heads, first_head = task % f.kv_heads * group;
    if (!is_root(root)) return;
    int64_t sequence = root;
    do {
      for (int64_t head = first_head; head < first_head + group; ++head) {
        const Head h = HeadOf(f, sequence, head);
        for (int64_t j = h.before; j < h.keys && head == first_head; ++j) {
          memset(args.d_kv + h.OffsetOf(j), 0, (size_t)d * sizeof(float));
          memset(args.d_kv + h.OffsetOf(j) + h.value_step, 0, (size_t)d * sizeof(float));
        }
        const BackwardTile tile{h,
                                d,
                                scale,
                                f.out + h.q_offset,
                                args.d_out + h.q_offset,
                                f.lse + h.lse_offset,
                                args.d_q + h.q_offset,
                                args.d_kv};
        for (int64_t q0 = 0; q0 < h.queries; q0 += kQueryTile) {
          tile.Run(q0, h.queries - q0 < kQueryTile ? h.queries - q0 : kQueryTile);
        }
      }
    } while (++sequence < f.sequences && !is_root(sequence));
  });
}

}  // namespace PRL_ISA
}  // namespace prl
