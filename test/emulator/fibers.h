// What the emulator's headers need of its scheduler (emulator.cc): which CUDA thread runs, and how it waits for others.
//
// A launch runs on the OS thread of its stream: clusters one after the other, all threads of a cluster as fibers that
// run until they wait at a barrier or a warp operation. So between two waits a thread runs alone, and whether a kernel
// forgot to synchronise shows as a result that depends on the order (PRL_EMULATOR_ORDER), not as a matter of luck.
#pragma once

#include <cstddef>
#include <cstdint>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

namespace prl_emulator {

struct Block;
struct Runner;

// Where a thread waits: all threads of a block must wait at the same place.
struct Where {
  const char* function;
  const char* file;
  int line;
  bool operator==(const Where& other) const { return line == other.line && file == other.file; }
};
#define PRL_EMULATOR_WHERE \
  const char *function = __builtin_FUNCTION(), const char *file = __builtin_FILE(), int line = __builtin_LINE()

enum class WarpOp : uint8_t { kSync, kShuffle, kBallot };

struct Thread {
  uint3 index;
  unsigned rank;  // in the block
  Block* block;
  Runner* runner;
  bool arrived_at_cluster;  // between the two halves of a split cluster barrier
  uint64_t cluster_phase;
  Where where;
  // The warp operation it waits in; the lane that completes it fills in every lane's result.
  WarpOp op;
  uint32_t mask;
  int source;
  uint64_t value, result;
};

struct Block {
  uint3 index;
  unsigned rank;  // in the cluster
  dim3 cluster;
  unsigned first_thread;  // in the scheduler's list
  unsigned threads, alive, waiting;
  int any, count;  // of the predicates given to the barrier so far
  int last_any, last_count, last_threads;
  unsigned char* shared;  // dynamic, shared_bytes exactly
  size_t shared_bytes;
};

// initial-exec: an access is one instruction, also in a library that was opened late; the variable is 8 bytes.
extern __thread Thread* current __attribute__((tls_model("initial-exec")));

struct Vote {
  int any, count, threads;
};
Vote SyncThreads(int predicate, Where where);
uint64_t WarpWait(WarpOp op, uint32_t mask, uint64_t value, int source, Where where);
void ClusterArrive();
void ClusterWait(Where where);
unsigned ClusterBlocks();
void* MapSharedRank(const void* shared, unsigned rank);
int RankOfShared(const void* shared);
// What the code that runs was compiled for: 90 for 9.0. On a GPU that is __CUDA_ARCH__ / 10, and the compiler's matter.
int Target();
// Copies of the current thread that are made no sooner than it waits for them; until then the place holds NaN.
void AskForCopy(void* to, const void* from, size_t bytes);
void CloseCopies();
void WaitForCopies(size_t later_groups);
// Ends the launch with cudaErrorLaunchFailure and one line on stderr.
[[noreturn]] void Fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace prl_emulator

// The current block's dynamic shared memory; what `extern __shared__` is to nvcc.
void* prl_emulator_shared();
