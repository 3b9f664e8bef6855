// Blocked as in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (ACM TOMS 34(3), 2008): B is
// packed in strips of kNr columns, a block of rows of A meets one strip of kKc x kNr (first-level cache) after the
// other, and the innermost kernel keeps kMr x kNr elements of C in registers. The block of A is packed too, unless its
// rows are contiguous and meet few strips. For few rows of A a strip is packed by the thread that uses it, and used
// while it is in that thread's cache: B is then read once from memory and never written. For very few rows it is not
// packed at all.
#include "runtime/cpu/gemm.h"

#include "runtime/cpu/scratch.h"
#include "runtime/cpu/simd.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace PRL_ISA {
namespace {

// Registers: kMr * 2 accumulators + 2 of B + 1 of A, of 32 with AVX-512 and 16 otherwise.
#if defined(PRL_ISA_avx512)
constexpr int kMr = 14;
#else
constexpr int kMr = 6;
#endif
constexpr int kNr = 2 * kLanes;
// The chain of an element is cut at multiples of kKc, for every shape: part of the contract.
constexpr int64_t kKc = 256;
constexpr int64_t kMc = 16 * kMr;
// Floats of B packed at a time (8 MB): larger products go in slabs of columns, and of at most kDeep terms where there
// are more. C stays in cache from one block of terms to the next, and A is read once per slab of columns.
constexpr int64_t kSlab = int64_t{1} << 21;
constexpr int64_t kDeep = 8 * kKc;
constexpr int64_t kFewRows = 2 * kMc, kThinRows = 16;
// Strips of B from which on a block of A with contiguous rows is packed too.
constexpr int64_t kManyStrips = 12;
// Terms of a transposed A that are fetched ahead of the packing.
constexpr int64_t kAhead = 8;

int64_t RoundUp(int64_t x, int64_t step) { return (x + step - 1) / step * step; }
int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// What becomes of C: the chain; C + the chain.
enum Into { kWrite, kAdd };

// `rows` x kNr of C over k terms. Row i of A starts at a + i * a_row; consecutive terms are kStep apart.
template <int kRows, int kStep>
__attribute__((noinline)) void Kernel(int64_t k, const float* a, int64_t a_row, const float* b, float* c, int64_t c_row,
                                      int columns, Into into) {
  VF c0[kRows], c1[kRows];
  const float* row[kRows];
  const bool add = into == kAdd;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    c0[i] = c1[i] = VF{};
    row[i] = a + i * a_row;
    __builtin_prefetch(c + i * c_row, 1);  // it is wanted at the end
    __builtin_prefetch(c + i * c_row + kLanes, 1);
  }
  for (int64_t p = 0; p < k; ++p) {
    const VF b0 = Load(b + p * kNr), b1 = Load(b + p * kNr + kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const VF x = Splat(row[i][p * kStep]);
      c0[i] += x * b0;
      c1[i] += x * b1;
    }
  }
  if (columns == kNr) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      float* out = c + i * c_row;
      Store(out, add ? Load(out) + c0[i] : c0[i]);
      Store(out + kLanes, add ? Load(out + kLanes) + c1[i] : c1[i]);
    }
    return;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float lane[kNr];
    Store(lane, c0[i]);
    Store(lane + kLanes, c1[i]);
    float* out = c + i * c_row;
    for (int j = 0; j < columns; ++j) out[j] = add ? out[j] + lane[j] : lane[j];
  }
}

// A tile of up to kMr rows; the last rows of a block go in tiles of 8, 4, 2 and 1. The chain of an element is the same
// in each.
template <int kStep>
void Rows(int64_t rows, int64_t k, const float* a, int64_t a_row, const float* b, float* c, int64_t c_row, int columns,
          Into into) {
  if (rows >= kMr) return Kernel<kMr, kStep>(k, a, a_row, b, c, c_row, columns, into);
  while (rows > 0) {
    const int64_t taken = kMr > 8 && rows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
    switch (taken) {
      case 8:
        if constexpr (kMr > 8) Kernel<8, kStep>(k, a, a_row, b, c, c_row, columns, into);
        break;
      case 4: Kernel<4, kStep>(k, a, a_row, b, c, c_row, columns, into); break;
      case 2: Kernel<2, kStep>(k, a, a_row, b, c, c_row, columns, into); break;
      default: Kernel<1, kStep>(k, a, a_row, b, c, c_row, columns, into);
    }
    rows -= taken;
    a += taken * a_row;
    c += taken * c_row;
  }
}

// 2 kLanes terms of kLanes columns of B, whose columns are contiguous: use(term, its values in them), in ascending
// order. With AVX2 these are lines of the cache, done with before the columns' lines drive each other out.
template <typename Use>
PRL_INLINE void EachTerm(const float* b, int64_t b_col, const Use& use) {
  for (int half = 0; half < 2 * kLanes; half += kLanes) {
    VF v[kLanes];
#pragma GCC unroll 16
    for (int j = 0; j < kLanes; ++j) v[j] = Load(b + j * b_col + half);
    Transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) use(half + i, v[i]);
  }
}
// Pairs of terms are transposed together.
template <typename Use>
PRL_INLINE void EachTerm(const BFloat16* b, int64_t b_col, const Use& use) {
  VF v[kLanes];
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) __builtin_memcpy(v + j, b + j * b_col, sizeof(VF));
  Transpose(v);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    use(2 * i, (VF)((VU)v[i] << 16));
    use(2 * i + 1, (VF)((VU)v[i] & 0xffff0000u));
  }
}

// A strip of B whose columns are contiguous. Returns how many terms are packed.
template <typename T>
int64_t PackTransposed(int64_t k, const T* b, int64_t b_col, float* out) {
  int64_t p = 0;
  for (; p + 2 * kLanes <= k; p += 2 * kLanes) {
    for (int first = 0; first < kNr; first += kLanes) {
      EachTerm(b + first * b_col + p, b_col, [&](int t, VF v) { Store(out + (p + t) * kNr + first, v); });
    }
  }
  return p;
}

// Strip s of B: columns [s * kNr, ...), k x kNr row-major, columns past n are 0.
template <typename T>
void PackStrip(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, int64_t strip, float* out) {
  const int64_t first = strip * kNr;
  const int columns = (int)Smaller(kNr, n - first);
  b += first * b_col;
  if (columns == kNr && b_col == 1) {
    for (int64_t p = 0; p < k; ++p) {
      Store(out + p * kNr, Load(b + p * b_row));
      Store(out + p * kNr + kLanes, Load(b + p * b_row + kLanes));
    }
    return;
  }
  int64_t p = columns == kNr && b_row == 1 ? PackTransposed(k, b, b_col, out) : 0;
  for (int64_t p0 = p; p0 < k; p0 += 16) {
    const int64_t p1 = Smaller(p0 + 16, k);
    for (int j = 0; j < columns; ++j) {
      for (p = p0; p < p1; ++p) out[p * kNr + j] = ToFloat(b[p * b_row + j * b_col]);
    }
  }
  for (p = 0; p < k && columns < kNr; ++p) {
    for (int j = columns; j < kNr; ++j) out[p * kNr + j] = 0.0f;
  }
}

// kMr rows whose terms are contiguous, kLanes terms at a time. Returns how many terms are packed. A vector may write
// past its kMr: what follows in `out` is written later, and there must be kLanes floats more.
int64_t PackRows(int64_t k, const float* a, int64_t a_row, float* out) {
  constexpr int kPieces = (kMr + kLanes - 1) / kLanes;
  int64_t p = 0;
  for (; p + kLanes <= k; p += kLanes) {
    VF v[kPieces][kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kPieces * kLanes; ++i) v[i / kLanes][i % kLanes] = i < kMr ? Load(a + i * a_row + p) : VF{};
#pragma GCC unroll 16
    for (int piece = 0; piece < kPieces; ++piece) Transpose(v[piece]);
#pragma GCC unroll 16
    for (int i = 0; i < kPieces * kLanes; ++i)
      Store(out + (p + i / kPieces) * kMr + i % kPieces * kLanes, v[i % kPieces][i / kPieces]);
  }
  return p;
}

// Rows [0, rows) and terms [0, k) of A: groups of kMr rows, each k x kMr row-major, so that kStep = kMr.
void PackA(int64_t rows, int64_t k, const float* a, int64_t a_row, int64_t a_col, float* out) {
  const int64_t whole = rows / kMr * kMr;
  // A transposed: a term's rows are contiguous, and terms may lie so far apart that they drive each other out of the
  // caches. So all rows of a term at a time, each line of the cache once.
  for (int64_t p = 0; a_row == 1 && p < k; ++p) {
    const float* from = a + p * a_col;
    if (p + kAhead < k) {
      for (int64_t i = 0; i < whole; i += 16) __builtin_prefetch(from + kAhead * a_col + i, 0, 2);
    }
    for (int64_t i = 0; i < whole; i += kMr) __builtin_memcpy(out + i * k + p * kMr, from + i, kMr * sizeof(float));
  }
  for (int64_t i0 = a_row == 1 ? whole : 0; i0 < rows; i0 += kMr) {
    const int count = (int)Smaller(kMr, rows - i0);
    const float* from = a + i0 * a_row;
    float* group = out + i0 * k;
    for (int64_t p = count == kMr && a_col == 1 ? PackRows(k, from, a_row, group) : 0; p < k; ++p) {
      for (int i = 0; i < count; ++i) group[p * kMr + i] = from[i * a_row + p * a_col];
    }
  }
}

// C[row0.., strips [strip0, strip1)] of one slab. packed: the slab's strips, each k x kNr; `columns` of the slab are
// real.
void Tile(const GemmArgs& g, int64_t row0, int64_t row1, int64_t strip0, int64_t strip1, const float* packed,
          int64_t columns, float* c) {
  const bool direct = g.a_col == 1 && (strip1 - strip0 < kManyStrips || row1 - row0 < kMr);
  for (int64_t p0 = 0; p0 < g.k; p0 += kKc) {
    const int64_t kc = Smaller(kKc, g.k - p0);
    const Into into = g.accumulate || p0 > 0 ? kAdd : kWrite;
    const float* a = g.a + row0 * g.a_row + p0 * g.a_col;
    if (!direct) {
      float* packed_a = ThreadScratch(kScratchGemmA, kMc * kKc + kLanes);
      PackA(row1 - row0, kc, a, g.a_row, g.a_col, packed_a);
      a = packed_a;
    }
    const int64_t tiles = (row1 - row0 + kMr - 1) / kMr,
                  share = (kc * kNr * (int64_t)sizeof(float) + tiles * 64 - 1) / (tiles * 64) * 64;
    for (int64_t s = strip0; s < strip1; ++s) {
      const float* b = packed + (s * g.k + p0) * kNr;
      const int width = (int)Smaller(kNr, columns - s * kNr);
      // The strip that comes next is fetched meanwhile, a share by each tile: into the second-level cache.
      const char* next = s + 1 < strip1 ? (const char*)(b + g.k * kNr) : nullptr;
      for (int64_t i = row0; i < row1; i += kMr) {
        for (int64_t at = 0; next && at < share; at += 64) __builtin_prefetch(next + at, 0, 2);
        if (next) next += share;
        const int64_t rows = Smaller(kMr, row1 - i);
        float* out = c + i * g.c_row + s * kNr;
        const float* a_tile = direct ? a + (i - row0) * g.a_row : a + (i - row0) * kc;
        if (direct) {
          Rows<1>(rows, kc, a_tile, g.a_row, b, out, g.c_row, width, into);
        } else {
          Rows<kMr>(rows, kc, a_tile, 1, b, out, g.c_row, width, into);
        }
      }
    }
  }
}

// The columns of one slab: tiles of rows, and of columns too where there are few rows. The cut follows the number of
// threads; the numbers do not.
void Slab(const GemmArgs& g, const float* packed, int64_t columns, float* c) {
  const int64_t strips = (columns + kNr - 1) / kNr;
  const int64_t threads = g.m * columns * g.k < 100000 || InTask() ? 1 : NumThreads();
  if (threads == 1) {
    for (int64_t i = 0; i < g.m; i += kMc) Tile(g, i, Smaller(i + kMc, g.m), 0, strips, packed, columns, c);
    return;
  }
  const int64_t wanted = 3 * threads;
  const int64_t mc = Smaller(kMc, RoundUp((g.m + wanted - 1) / wanted, 2 * kMr));
  const int64_t row_tiles = (g.m + mc - 1) / mc;
  const int64_t column_tiles =
      row_tiles >= wanted ? 1 : Smaller((wanted + row_tiles - 1) / row_tiles, (strips + 3) / 4);
  const int64_t width = (strips + column_tiles - 1) / column_tiles;
  ParallelFor(row_tiles * column_tiles, [&](int64_t task) {
    const int64_t i = task / column_tiles * mc, s = task % column_tiles * width;
    Tile(g, i, Smaller(i + mc, g.m), s, Smaller(s + width, strips), packed, columns, c);
  });
}

// Fetches bytes into the second-level cache. Returns what lies behind them.
PRL_INLINE const char* Fetch(const char* next, int bytes) {
#pragma GCC unroll 8
  for (int at = 0; at < bytes; at += 64) __builtin_prefetch(next + at, 0, 2);
  return next + bytes;
}

// kLanes columns at a time, so many that four chains or more do not wait for each other's additions.
constexpr int ThinGroups(int rows) { return rows < 4 ? 4 / rows : 1; }

// ThinGroups columns of C from `column` on, for m <= kRows: terms are used in the registers that they were transposed
// in. `next` (or null): what to fetch meanwhile, as many bytes as are read.
template <int kRows, typename T>
__attribute__((noinline)) void Thin(const GemmArgs& g, const T* b, int64_t column, const char* next) {
  constexpr int kGroups = ThinGroups(kRows), kChains = kGroups * kRows;
  const float* row[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) row[r] = g.a + Smaller(r, g.m - 1) * g.a_row;  // the last one again
  VF sum[kChains], chain[kChains];
  for (int64_t p0 = 0; p0 < g.k; p0 += kKc) {
    const int64_t p1 = Smaller(p0 + kKc, g.k), whole = p1 - (p1 - p0) % (2 * kLanes);
#pragma GCC unroll 8
    for (VF& c : chain) c = VF{};
    for (int64_t p = p0; p < whole; p += 2 * kLanes) {
#pragma GCC unroll 8
      for (int i = 0; i < kGroups; ++i) {
        if (next) next = Fetch(next, 2 * kLanes * kLanes * (int)sizeof(T));
        EachTerm(b + (column + i * kLanes) * g.b_col + p, g.b_col, [&](int t, VF v) {
#pragma GCC unroll 8
          for (int r = 0; r < kRows; ++r) chain[i * kRows + r] += Splat(row[r][p + t]) * v;
        });
      }
    }
    for (int64_t p = whole; p < p1; ++p) {
      for (int i = 0; i < kGroups; ++i) {
        float lane[kLanes];
        for (int j = 0; j < kLanes; ++j) lane[j] = ToFloat(b[(column + i * kLanes + j) * g.b_col + p]);
        for (int r = 0; r < kRows; ++r) chain[i * kRows + r] += Splat(row[r][p]) * Load(lane);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) {
      const float* c = g.c + Smaller(i % kRows, g.m - 1) * g.c_row + column + i / kRows * kLanes;
      sum[i] = p0 > 0 ? sum[i] + chain[i] : g.accumulate ? Load(c) + chain[i] : chain[i];
    }
  }
  for (int i = 0; i < kChains; ++i) {
    if (i % kRows < g.m) Store(g.c + i % kRows * g.c_row + column + i / kRows * kLanes, sum[i]);
  }
}

// Strips [begin, end) for m <= kThinRows. Returns the first that is left: it is not whole, or half of what Thin takes.
template <typename T>
int64_t ThinStrips(const GemmArgs& g, const T* b, int64_t begin, int64_t end) {
  const int64_t width = kLanes * ThinGroups((int)g.m), last = Smaller(end, g.n / kNr) * kNr;
  const int64_t block = g.m <= 8 ? g.m : g.m <= 12 ? 6 : 8;  // of rows
  int64_t column = begin * kNr;
  for (; column + width <= last; column += width) {
    // (Too many fetches at once, as the compiler would arrange them without a branch between, wait for each other.)
    const char* next = column + 2 * width <= g.n ? (const char*)(b + (column + width) * g.b_col) : nullptr;
    for (int64_t i = 0; i < g.m; i += block, next = nullptr) {
      GemmArgs rows = g;
      rows.m = Smaller(block, g.m - i);
      rows.a = g.a + i * g.a_row;
      rows.c = g.c + i * g.c_row;
      if (g.m == 1) Thin<1>(rows, b, column, next);
      else if (g.m == 2) Thin<2>(rows, b, column, next);
      else if (rows.m <= 4) Thin<4>(rows, b, column, next);
      else if (rows.m <= 6) Thin<6>(rows, b, column, next);
      else Thin<8>(rows, b, column, next);
    }
  }
  return column / kNr;
}

}  // namespace

// C of few rows of A: see the top. B by contiguous columns. A strip of C is written when it is done: its rows may lie
// so far apart that they drive each other out of the caches.
template <typename T>
static void Stream(const GemmArgs& g, const T* b) {
  const int64_t strips = (g.n + kNr - 1) / kNr, pairs = (strips + 1) / 2, threads = NumThreads();
  const int64_t tiles = (g.m + kMr - 1) / kMr;
  // Tasks of up to 8 pairs of strips, of about the same size.
  const int64_t most = Smaller(pairs, 4 * threads > pairs / 8 ? 4 * threads : pairs / 8);
  const int64_t tasks = threads == 1 || g.m * g.n * g.k < 100000 ? 1 : most;
  ParallelFor(tasks, [&](int64_t task) {
    const int64_t begin = pairs * task / tasks * 2, end = Smaller(pairs * (task + 1) / tasks * 2, strips);
    float* packed = ThreadScratch(kScratchGemmB, kKc * kNr);
    alignas(64) float sums[kFewRows * kNr];
    for (int64_t s = g.m <= kThinRows ? ThinStrips(g, b, begin, end) : begin; s < end; ++s) {
      const int columns = (int)Smaller(kNr, g.n - s * kNr);
      for (int64_t i = 0; g.accumulate && i < g.m; ++i) {
        for (int j = 0; j < columns; ++j) sums[i * kNr + j] = g.c[i * g.c_row + s * kNr + j];
      }
      for (int64_t p = 0; p < g.k; p += kKc) {
        const int64_t terms = Smaller(kKc, g.k - p);
        // The next strip, which lies behind this one, is fetched meanwhile, a share by each tile.
        const char* next = s + 1 < strips ? (const char*)(b + (s + 1) * kNr * g.b_col + p * kNr) : nullptr;
        const int64_t share = next ? terms * kNr * (int64_t)sizeof(T) / tiles : 0;
        PackStrip(terms, g.n, b + p, 1, g.b_col, s, packed);
        for (int64_t i = 0; i < g.m; i += kMr, next += share) {
          for (int64_t at = 0; at < share; at += 64) __builtin_prefetch(next + at, 0, 2);
          Rows<1>(Smaller(kMr, g.m - i), terms, g.a + i * g.a_row + p, g.a_row, packed, sums + i * kNr, kNr, kNr,
                  g.accumulate || p > 0 ? kAdd : kWrite);
        }
      }
      for (int64_t i = 0; i < g.m; ++i) {
        float* c = g.c + i * g.c_row + s * kNr;
        if (columns == kNr) {
          __builtin_memcpy(c, sums + i * kNr, kNr * sizeof(float));
        } else {
          for (int j = 0; j < columns; ++j) c[j] = sums[i * kNr + j];
        }
      }
    }
  });
}

int64_t PackedBSize(int64_t k, int64_t n) { return k * RoundUp(n, kNr); }

template <typename T>
static void PackStrips(int64_t k, int64_t n, const T* b, int64_t b_row, int64_t b_col, float* packed) {
  const int64_t strips = (n + kNr - 1) / kNr;
  const int64_t group = k * kNr < 8192 ? 8192 / (k * kNr + 1) + 1 : 1;  // a task packs about 32 kB or more
  ParallelRows(strips, group, [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) PackStrip(k, n, b, b_row, b_col, s, packed + s * k * kNr);
  });
}

void PackB(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* packed) {
  PackStrips(k, n, b, b_row, b_col, packed);
}

void PackBBFloat16(int64_t k, int64_t n, const BFloat16* b, int64_t b_row, int64_t b_col, float* packed) {
  PackStrips(k, n, b, b_row, b_col, packed);
}

void GemmCpu(const GemmArgs& g) {
  if (g.m <= 0 || g.n <= 0) return;
  if (g.k <= 0) {
    for (int64_t i = 0; i < g.m && !g.accumulate; ++i) memset(g.c + i * g.c_row, 0, (size_t)g.n * sizeof(float));
    return;
  }
  if (g.packed_b) return Slab(g, g.packed_b, g.n, g.c);
  if (g.m <= kFewRows && g.a_col == 1 && g.b_row == 1) return g.b_bf16 ? Stream(g, g.b_bf16) : Stream(g, g.b);
  const int64_t deep = Smaller(g.k, kDeep), most = RoundUp(kSlab / deep, kNr);
  for (int64_t j = 0; j < g.n; j += most) {
    const int64_t columns = Smaller(most, g.n - j);
    for (int64_t p = 0; p < g.k; p += deep) {
      GemmArgs part = g;
      part.k = Smaller(deep, g.k - p);
      part.a = g.a + p * g.a_col;
      part.accumulate = g.accumulate || p > 0;
      float* packed = ThreadScratch(kScratchGemmB, PackedBSize(part.k, columns));
      const int64_t corner = p * g.b_row + j * g.b_col;
      if (g.b_bf16) {
        PackStrips(part.k, columns, g.b_bf16 + corner, g.b_row, g.b_col, packed);
      } else {
        PackStrips(part.k, columns, g.b + corner, g.b_row, g.b_col, packed);
      }
      Slab(part, packed, columns, g.c + j);
    }
  }
}

}  // namespace PRL_ISA
}  // namespace prl
