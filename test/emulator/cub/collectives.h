// The block and warp collectives of CUB that our kernels use, with their documented contracts made strict: a result
// that is valid in one thread only is poison in the others, and the temporary storage is really used, so that reusing
// it without a barrier between gives wrong results in some order.
#pragma once

#include <new>

#include "../device.h"

namespace prl_emulator {

template <typename T, int N>
struct Slots {
  alignas(T) unsigned char bytes[N][sizeof(T)];
  T& operator[](int i) { return *reinterpret_cast<T*>(bytes[i]); }
  void Put(int i, const T& value) { new (bytes[i]) T(value); }
};

template <typename T>
T Poison(const T& like) {
  T poison = like;
  memset(static_cast<void*>(&poison), 0xff, sizeof poison);
  return poison;
}

// A warp's items in the order of the GPU's: neighbours, then pairs, then fours; so floats round as they do there.
template <typename T, int N, typename Op>
T ReduceWarp(Slots<T, N>& slots, int first, int count, Op op) {
  for (int step = 1; step < count; step *= 2) {
    for (int i = 0; i + step < count; i += 2 * step) slots[first + i] = op(slots[first + i], slots[first + i + step]);
  }
  return slots[first];
}

struct Plus {
  template <typename T>
  T operator()(const T& a, const T& b) const {
    return a + b;
  }
};

inline void ExpectThreads(const char* what, int threads) {
  if ((int)current->block->threads != threads)
    Fail("%s for %d threads in a block of %u", what, threads, current->block->threads);
}

}  // namespace prl_emulator

namespace cub {

enum BlockReduceAlgorithm { BLOCK_REDUCE_RAKING_COMMUTATIVE_ONLY, BLOCK_REDUCE_RAKING, BLOCK_REDUCE_WARP_REDUCTIONS };
enum BlockScanAlgorithm { BLOCK_SCAN_RAKING, BLOCK_SCAN_RAKING_MEMOIZE, BLOCK_SCAN_WARP_SCANS };

template <typename T, int X, BlockReduceAlgorithm = BLOCK_REDUCE_WARP_REDUCTIONS, int Y = 1, int Z = 1>
class BlockReduce {
  static constexpr int N = X * Y * Z;

 public:
  using TempStorage = prl_emulator::Slots<T, N>;
  explicit BlockReduce(TempStorage& storage) : storage_(storage) {}

  // The result is valid in thread 0.
  template <typename Op>
  T Reduce(T input, Op op, int valid = N) {
    prl_emulator::ExpectThreads("cub::BlockReduce", N);
    const int rank = (int)prl_emulator::current->rank;
    storage_.Put(rank, input);
    prl_emulator::SyncThreads(0, {"cub::BlockReduce", __FILE__, 1});
    if (rank != 0) return prl_emulator::Poison(input);
    T total = prl_emulator::ReduceWarp(storage_, 0, valid < 32 ? valid : 32, op);
    for (int first = 32; first < valid; first += 32) {
      total = op(total, prl_emulator::ReduceWarp(storage_, first, valid - first < 32 ? valid - first : 32, op));
    }
    return total;
  }
  T Sum(T input, int valid = N) { return Reduce(input, prl_emulator::Plus{}, valid); }

 private:
  TempStorage& storage_;
};

template <typename T, int X, BlockScanAlgorithm = BLOCK_SCAN_RAKING, int Y = 1, int Z = 1>
class BlockScan {
  static constexpr int N = X * Y * Z;

 public:
  struct TempStorage {
    prl_emulator::Slots<T, N> slots;
    prl_emulator::Slots<T, 2> extra;  // the block's total, the prefix of the caller's callback
  };
  explicit BlockScan(TempStorage& storage) : storage_(storage) {}

  void InclusiveSum(T in, T& out) { InclusiveScan(in, out, prl_emulator::Plus{}); }
  void InclusiveSum(T in, T& out, T& total) { InclusiveScan(in, out, prl_emulator::Plus{}, total); }
  void ExclusiveSum(T in, T& out) { ExclusiveScan(in, out, T{}, prl_emulator::Plus{}); }
  void ExclusiveSum(T in, T& out, T& total) { ExclusiveScan(in, out, T{}, prl_emulator::Plus{}, total); }
  template <typename Op>
  void InclusiveScan(T in, T& out, Op op) {
    T total = in;
    InclusiveScan(in, out, op, total);
  }
  template <typename Op>
  void InclusiveScan(T in, T& out, Op op, T& total) {
    const T sum = Scan(in, op, total);
    out = sum;
  }
  // `prefix` is called with the block's total in the first warp; what it returns in thread 0 goes before the block's
  // items.
  template <typename Op, typename Prefix>
  void InclusiveScan(T in, T& out, Op op, Prefix& prefix) {
    T total = in;
    const T sum = Scan(in, op, total);
    out = op(WithPrefix(prefix, total), sum);
  }
  template <typename Op>
  void ExclusiveScan(T in, T& out, T initial, Op op) {
    T total = in;
    ExclusiveScan(in, out, initial, op, total);
  }
  template <typename Op>
  void ExclusiveScan(T in, T& out, T initial, Op op, T& total) {  // `total` is without `initial`
    const T before = Before(in, op, total);
    out = prl_emulator::current->rank == 0 ? initial : op(initial, before);
  }
  template <typename Op>
  void ExclusiveScan(T in, T& out, Op op) {  // no initial value: thread 0 gets nothing
    T total = in;
    out = Before(in, op, total);
  }
  template <typename Op>
  void ExclusiveScan(T in, T& out, Op op, T& total) {
    out = Before(in, op, total);
  }

 private:
  static constexpr int Mirror(int rank) { return N - 1 - rank; }

  // The items up to and with this thread's, in order; total of all. Each result waits in the slot of another thread's
  // input: a thread that goes on to the next scan without a barrier destroys it.
  template <typename Op>
  T Scan(T in, Op op, T& total) {
    Fill(in, op, true);
    total = storage_.extra[0];
    return storage_.slots[Mirror((int)prl_emulator::current->rank)];
  }
  template <typename Op>
  T Before(T in, Op op, T& total) {
    Fill(in, op, false);
    total = storage_.extra[0];
    const int rank = (int)prl_emulator::current->rank;
    return rank == 0 ? prl_emulator::Poison(in) : storage_.slots[Mirror(rank)];
  }
  template <typename Op>
  void Fill(T in, Op op, bool inclusive) {
    prl_emulator::ExpectThreads("cub::BlockScan", N);
    auto& slots = storage_.slots;
    const int rank = (int)prl_emulator::current->rank;
    slots.Put(rank, in);
    prl_emulator::SyncThreads(0, {"cub::BlockScan", __FILE__, 2});
    if (rank == 0) {
      T running = slots[0];
      T previous = running;
      for (int i = 1; i < N; ++i) {
        const T next = op(running, slots[i]);
        slots.Put(i, inclusive ? next : running);
        running = next;
      }
      storage_.extra.Put(0, running);
      for (int i = 0, j = N - 1; i < j; ++i, --j) {
        previous = slots[i];
        slots.Put(i, slots[j]);
        slots.Put(j, previous);
      }
    }
    prl_emulator::SyncThreads(0, {"cub::BlockScan", __FILE__, 3});
  }
  template <typename Prefix>
  T WithPrefix(Prefix& prefix, T total) {
    const unsigned rank = prl_emulator::current->rank;
    if (rank < 32) {
      const T before = prefix(total);
      if (rank == 0) storage_.extra.Put(1, before);
    }
    prl_emulator::SyncThreads(0, {"cub::BlockScan", __FILE__, 4});
    return storage_.extra[1];
  }

  TempStorage& storage_;
};

template <typename T, int N = 32>
class WarpReduce {
 public:
  using TempStorage = prl_emulator::Slots<T, N>;
  explicit WarpReduce(TempStorage& storage) : storage_(storage) {}

  // The result is valid in the first of each N lanes; each group of N lanes has its own storage.
  template <typename Op>
  T Reduce(T input, Op op, int valid = N) {
    const int lane = prl_emulator::Lane() % N, first = prl_emulator::Lane() - lane;
    const uint32_t mask = (N == 32 ? 0xffffffffu : (1u << (N % 32)) - 1) << first;
    storage_.Put(lane, input);
    prl_emulator::WarpWait(prl_emulator::WarpOp::kSync, mask, 0, 0, {"cub::WarpReduce", __FILE__, 5});
    if (lane != 0) return prl_emulator::Poison(input);
    return prl_emulator::ReduceWarp(storage_, 0, valid, op);
  }
  T Sum(T input, int valid = N) { return Reduce(input, prl_emulator::Plus{}, valid); }

 private:
  TempStorage& storage_;
};

}  // namespace cub
