// The device: runs the threads of a launch as fibers. See fibers.h.
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "device.h"
#include "launch.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define PRL_ASAN(...) __VA_ARGS__
#else
#define PRL_ASAN(...)
#endif

#if defined(__x86_64__) && !defined(PRL_EMULATOR_UCONTEXT)
// Saves what a call must keep, changes the stack, takes the other side's back. swapcontext would do the same, and also
// ask the kernel for the signal mask each time.
extern "C" void prl_emulator_switch(void** save, void* to) __attribute__((visibility("hidden")));
asm(R"(
.text
.hidden prl_emulator_switch
.globl prl_emulator_switch
.type prl_emulator_switch, @function
prl_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size prl_emulator_switch, .-prl_emulator_switch
)");
#else
#undef PRL_EMULATOR_UCONTEXT
#define PRL_EMULATOR_UCONTEXT 1
#include <ucontext.h>
#endif

__thread dim3 blockDim __attribute__((tls_model("initial-exec")));
__thread dim3 gridDim __attribute__((tls_model("initial-exec")));

namespace prl_emulator {

__thread Thread* current __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

constexpr size_t kStackBytes = PRL_ASAN(4 *) 64 * 1024;
constexpr uint64_t kCanary = 0x5afe57ac4b0770e5;

enum State : uint8_t { kNew, kRunnable, kAtBarrier, kAtWarp, kAtCluster, kExited };

}  // namespace

// A stack and what is needed to go on where it stopped. A runner starts threads one after the other for as long as none
// of them waits: a kernel without barriers runs as a plain loop, on one stack, without a switch. When a thread waits,
// its runner is its fiber, and another runner starts the rest.
struct Runner {
  unsigned char* stack;
  void* saved = nullptr;
  PRL_ASAN(void* fake = nullptr;)
#if defined(PRL_EMULATOR_UCONTEXT)
  ucontext_t context;
#endif
};

namespace {

// What a thread has asked for and not waited for. A group ends where the thread closed it.
struct Copies {
  struct One {
    void* to;
    const void* from;
    size_t bytes;
  };
  std::vector<One> asked;
  std::vector<size_t> groups;  // where each ends in `asked`
  size_t made = 0, groups_made = 0;

  void Make(size_t groups_to_make) {
    for (; groups_made < groups_to_make; ++groups_made) {
      for (; made < groups[groups_made]; ++made) memcpy(asked[made].to, asked[made].from, asked[made].bytes);
    }
    if (made == asked.size()) Forget();
  }
  void Forget() {
    asked.clear();
    groups.clear();
    made = groups_made = 0;
  }
};

enum class Order { kForward, kReverse, kShuffle };

class Scheduler {
 public:
  Scheduler() {
    PRL_ASAN(pthread_attr_t attributes; pthread_getattr_np(pthread_self(), &attributes);
             pthread_attr_getstack(&attributes, &bottom_, &bottom_size_); pthread_attr_destroy(&attributes);)
  }
  ~Scheduler() {
    for (auto& runner : runners_) {
      PRL_ASAN(ASAN_UNPOISON_MEMORY_REGION(runner->stack, kStackBytes);)
      munmap(runner->stack, kStackBytes);
    }
  }

  bool Run(const LaunchShape& shape, const std::function<void()>& invoke, std::string* reason);
  void RunnerLoop();
  // The last to come also gives way, so that all threads start the next phase in the order that was asked for.
  void WaitAtBarrier(int predicate);
  void WaitInWarp();
  void WaitForCluster();
  void ClusterArrive();
  Block* BlockOf(unsigned rank) { return rank < blocks_.size() ? &blocks_[rank] : nullptr; }
  unsigned blocks() const { return (unsigned)blocks_.size(); }
  Copies& copies() { return copies_[IndexOf(*current)]; }
  int target() const { return target_; }
  // No objects here or in the caller: nothing on this stack is destroyed any more
  [[noreturn]] void Fail(const char* message) {
    reason_ = message;
    failed_ = true;
    SwitchFrom(nullptr, nullptr);
    abort();  // a failed launch is never gone on with
  }

 private:
  size_t IndexOf(const Thread& thread) const { return (size_t)(&thread - threads_.data()); }
  State StateOf(const Block& block, unsigned rank) const { return (State)state_[block.first_thread + rank]; }
  void ReadOrder();
  void Permute(std::vector<uint32_t>& order);
  bool RunCluster(const LaunchShape& shape, uint64_t cluster);
  void SetUp(const LaunchShape& shape, uint64_t cluster);
  void GiveWay(Thread& thread);
  void Exit(Thread& thread);
  void TryBarrier(Block& block);
  void TryWarp(const Thread& thread);
  void TryCluster();
  void ReportDeadlock();
  Runner* FreshRunner();
  void ResetRunner(Runner* runner);
  Runner* NextRunnable();
  void ToRunner(Runner* runner);
  void SwitchFrom(Runner* from, Runner* to);

  const std::function<void()>* invoke_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<uint8_t> state_;
  std::vector<uint32_t> order_;
  std::vector<Block> blocks_;
  std::vector<unsigned char*> shared_;
  std::vector<Copies> copies_;  // of each thread
  int target_ = 0;
  size_t started_ = 0, alive_ = 0;
  size_t cursor_ = 0;             // how far the pass over order_ is
  const Block* ahead_ = nullptr;  // whose threads this pass runs: the block of the first that can
  size_t cluster_arrived_ = 0;
  uint64_t cluster_phase_ = 0;
  Order kind_ = Order::kForward;
  std::mt19937_64 random_;
  bool failed_ = false;
  std::string reason_;

  std::vector<std::unique_ptr<Runner>> runners_;
  std::vector<Runner*> free_;
  Runner* running_ = nullptr;
  void* saved_ = nullptr;
#if defined(PRL_EMULATOR_UCONTEXT)
  ucontext_t context_;
#endif
  PRL_ASAN(void* fake_ = nullptr; void* bottom_ = nullptr; size_t bottom_size_ = 0;)  // the OS thread's own stack
};

__thread Scheduler* scheduler = nullptr;  // of this OS thread

// ---- switching
void RunnerMain() {
  scheduler->RunnerLoop();
  abort();  // it never ends
}

void Scheduler::ResetRunner(Runner* runner) {
  PRL_ASAN(ASAN_UNPOISON_MEMORY_REGION(runner->stack, kStackBytes); runner->fake = nullptr;)
  memcpy(runner->stack, &kCanary, sizeof kCanary);
#if defined(PRL_EMULATOR_UCONTEXT)
  getcontext(&runner->context);
  runner->context.uc_stack.ss_sp = runner->stack;
  runner->context.uc_stack.ss_size = kStackBytes;
  runner->context.uc_link = nullptr;
  makecontext(&runner->context, RunnerMain, 0);
#else
  // Tops at different distances from a page's end: at one distance, all fibers' frames would share a few cache sets.
  const size_t colour = ((reinterpret_cast<uintptr_t>(runner->stack) / kStackBytes) % 31) * 128;
  void** top = reinterpret_cast<void**>(runner->stack + kStackBytes - 256 - colour);
  top[0] = reinterpret_cast<void*>(&RunnerMain);  // where the first switch returns to
  top[1] = nullptr;                               // and where a debugger's backtrace ends
  memset(top - 6, 0, 6 * sizeof(void*));          // the registers
  runner->saved = top - 6;
#endif
}

Runner* Scheduler::FreshRunner() {
  if (free_.empty()) {
    auto runner = std::make_unique<Runner>();
    void* stack =
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) {
      fprintf(stderr, "prl emulator: no memory for the stack of fiber %zu\n", runners_.size());
      abort();
    }
    runner->stack = static_cast<unsigned char*>(stack);
    ResetRunner(runner.get());
    free_.push_back(runner.get());
    runners_.push_back(std::move(runner));
  }
  Runner* runner = free_.back();
  free_.pop_back();
  return runner;
}

void Scheduler::ToRunner(Runner* runner) {
  running_ = runner;
  PRL_ASAN(__sanitizer_start_switch_fiber(&fake_, runner->stack, kStackBytes);)
#if defined(PRL_EMULATOR_UCONTEXT)
  swapcontext(&context_, &runner->context);
#else
  prl_emulator_switch(&saved_, runner->saved);
#endif
  PRL_ASAN(__sanitizer_finish_switch_fiber(fake_, nullptr, nullptr);)
}

// To another fiber, or (null) to the scheduler. `from` is null when this fiber is left for good.
void Scheduler::SwitchFrom(Runner* from, Runner* to) {
  Runner& runner = *running_;
  (void)from;
  PRL_ASAN(__sanitizer_start_switch_fiber(from ? &runner.fake : nullptr, to ? to->stack : bottom_,
                                          to ? kStackBytes : bottom_size_);)
  if (to) running_ = to;
#if defined(PRL_EMULATOR_UCONTEXT)
  swapcontext(&runner.context, to ? &to->context : &context_);
#else
  prl_emulator_switch(&runner.saved, to ? to->saved : saved_);
#endif
  PRL_ASAN(__sanitizer_finish_switch_fiber(runner.fake, nullptr, nullptr);)
}

// A pass is over one block of the cluster: it gets ahead of the others for as long as it can, so that a missing cluster
// barrier shows.
Runner* Scheduler::NextRunnable() {
  while (cursor_ < order_.size()) {
    const uint32_t i = order_[cursor_++];
    if (state_[i] != kRunnable) continue;
    if (!ahead_) ahead_ = threads_[i].block;
    if (threads_[i].block != ahead_) continue;
    current = &threads_[i];
    return current->runner;
  }
  return nullptr;  // the pass is over
}

void Scheduler::RunnerLoop() {
  PRL_ASAN(__sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);)
  for (;;) {
    Runner* self = running_;
    while (started_ < order_.size()) {
      Thread& thread = threads_[order_[started_]];
      state_[order_[started_++]] = kRunnable;
      current = &thread;
      (*invoke_)();
      Exit(*current);
    }
    if (memcmp(self->stack, &kCanary, sizeof kCanary) != 0) Fail("a thread used more than its stack");
    free_.push_back(self);
    SwitchFrom(self, NextRunnable());
  }
}

// ---- waiting
// From fiber to fiber, not by way of the scheduler: all of them then stop at the same instruction, which the processor
// predicts.
void Scheduler::GiveWay(Thread& thread) {
  thread.runner = running_;
  SwitchFrom(running_, started_ < order_.size() ? FreshRunner() : NextRunnable());
}

void Scheduler::WaitAtBarrier(int predicate) {
  Thread& thread = *current;
  Block& block = *thread.block;
  block.any |= predicate != 0;
  block.count += predicate != 0;
  ++block.waiting;
  state_[IndexOf(thread)] = kAtBarrier;
  TryBarrier(block);
  GiveWay(thread);
}

void Scheduler::WaitInWarp() {
  Thread& thread = *current;
  state_[IndexOf(thread)] = kAtWarp;
  TryWarp(thread);
  GiveWay(thread);
}

void Scheduler::WaitForCluster() {
  Thread& thread = *current;
  state_[IndexOf(thread)] = thread.cluster_phase == cluster_phase_ ? kAtCluster : kRunnable;
  GiveWay(thread);
}

void Scheduler::TryBarrier(Block& block) {
  if (block.alive == 0 || block.waiting < block.alive) return;
  const Where* where = nullptr;
  for (unsigned i = 0; i < block.threads; ++i) {
    if (StateOf(block, i) != kAtBarrier) continue;
    const Thread& thread = threads_[block.first_thread + i];
    if (where && !(thread.where == *where)) {
      char message[512];
      snprintf(message, sizeof message,
               "threads of block (%u, %u, %u) wait at different barriers: %s (%s:%d) and %s (%s:%d)", block.index.x,
               block.index.y, block.index.z, where->function, where->file, where->line, thread.where.function,
               thread.where.file, thread.where.line);
      Fail(message);
    }
    where = &thread.where;
  }
  for (unsigned i = 0; i < block.threads; ++i) {
    if (StateOf(block, i) == kAtBarrier) state_[block.first_thread + i] = kRunnable;
  }
  block.last_any = block.any;
  block.last_count = block.count;
  block.last_threads = (int)block.waiting;
  block.waiting = 0;
  block.any = block.count = 0;
}

// Completes the operation that `one` waits in, when every lane of its mask that has not ended waits in the same.
void Scheduler::TryWarp(const Thread& one) {
  const Block& block = *one.block;
  const unsigned warp = one.rank / 32;
  const uint32_t mask = one.mask;
  const WarpOp op = one.op;
  const unsigned lanes = std::min(32u, block.threads - warp * 32);
  Thread* first = &threads_[block.first_thread + warp * 32];
  uint32_t present = 0, ballot = 0;
  for (unsigned lane = 0; lane < lanes; ++lane) {
    const State state = StateOf(block, warp * 32 + lane);
    if (!(mask >> lane & 1) || state == kExited) continue;
    const Thread& thread = first[lane];
    if (state != kAtWarp || thread.mask != mask || thread.op != op || !(thread.where == one.where)) return;
    present |= 1u << lane;
    ballot |= (uint32_t)(thread.value & 1) << lane;
  }
  for (unsigned lane = 0; lane < lanes; ++lane) {
    if (!(present >> lane & 1)) continue;
    Thread& thread = first[lane];
    switch (op) {
      case WarpOp::kSync: break;
      case WarpOp::kBallot: thread.result = ballot; break;
      case WarpOp::kShuffle:  // from a lane that takes no part: undefined, so poison
        thread.result = thread.source >= 0 && thread.source < 32 && (present >> thread.source & 1)
                            ? first[thread.source].value
                            : ~0ull;
        break;
    }
    state_[block.first_thread + warp * 32 + lane] = kRunnable;
  }
}

void Scheduler::TryCluster() {
  if (alive_ == 0 || cluster_arrived_ < alive_) return;
  ++cluster_phase_;
  cluster_arrived_ = 0;
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].arrived_at_cluster = false;
    if (state_[i] == kAtCluster) state_[i] = kRunnable;
  }
}

void Scheduler::ClusterArrive() {
  Thread& thread = *current;
  if (thread.arrived_at_cluster) Fail("a thread arrived twice at a cluster barrier without waiting");
  thread.arrived_at_cluster = true;
  thread.cluster_phase = cluster_phase_;
  ++cluster_arrived_;
  TryCluster();
}

void Scheduler::Exit(Thread& thread) {
  Block& block = *thread.block;
  state_[IndexOf(thread)] = kExited;
  --alive_;
  if (thread.arrived_at_cluster) --cluster_arrived_;
  --block.alive;
  if (block.waiting) TryBarrier(block);
  const unsigned warp = thread.rank / 32;
  for (unsigned i = warp * 32; i < std::min(warp * 32 + 32, block.threads); ++i) {
    if (StateOf(block, i) == kAtWarp) TryWarp(threads_[block.first_thread + i]);
  }
  if (cluster_arrived_) TryCluster();
  // Another block of the cluster that still reads it would read what may be gone.
  if (block.alive == 0 && blocks_.size() > 1) memset(block.shared, 0xff, block.shared_bytes);
}

void Scheduler::ReportDeadlock() {
  size_t exited = 0, shown = 0;
  std::vector<std::pair<const Thread*, size_t>> places;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (state_[i] == kExited) {
      ++exited;
      continue;
    }
    auto place =
        std::find_if(places.begin(), places.end(), [&](auto& p) { return p.first->where == threads_[i].where; });
    if (place == places.end()) places.push_back({&threads_[i], 1});
    else ++place->second;
  }
  const Block& block = *places[0].first->block;
  reason_ = "deadlock in block (" + std::to_string(block.index.x) + ", " + std::to_string(block.index.y) + ", " +
            std::to_string(block.index.z) + "):";
  for (auto& [thread, count] : places) {
    if (++shown > 4) break;
    reason_ += " " + std::to_string(count) + " threads wait in " + thread->where.function + " (" + thread->where.file +
               ":" + std::to_string(thread->where.line) + "), the first is " + std::to_string(thread->rank) + ";";
  }
  reason_ += " " + std::to_string(exited) + " of " + std::to_string(threads_.size()) + " threads have ended";
  failed_ = true;
}

// ---- a launch
void Scheduler::ReadOrder() {
  const char* order = getenv("PRL_EMULATOR_ORDER");
  kind_ = Order::kForward;
  if (!order || !*order || !strcmp(order, "forward")) return;
  if (!strcmp(order, "reverse")) kind_ = Order::kReverse;
  else if (!strncmp(order, "shuffle:", 8)) {
    kind_ = Order::kShuffle;
    random_.seed(strtoull(order + 8, nullptr, 10));
  } else {
    fprintf(stderr, "prl emulator: PRL_EMULATOR_ORDER must be forward, reverse or shuffle:SEED, not '%s'\n", order);
    abort();
  }
}

void Scheduler::Permute(std::vector<uint32_t>& order) {
  for (size_t i = 0; i < order.size(); ++i) order[i] = (uint32_t)(kind_ == Order::kReverse ? order.size() - 1 - i : i);
  if (kind_ == Order::kShuffle) std::shuffle(order.begin(), order.end(), random_);
}

void Scheduler::SetUp(const LaunchShape& shape, uint64_t cluster) {
  const dim3 across(shape.grid.x / shape.cluster.x, shape.grid.y / shape.cluster.y);
  const uint3 corner = {(unsigned)(cluster % across.x) * shape.cluster.x,
                        (unsigned)(cluster / across.x % across.y) * shape.cluster.y,
                        (unsigned)(cluster / across.x / across.y) * shape.cluster.z};
  const unsigned threads = shape.block.x * shape.block.y * shape.block.z;
  for (unsigned rank = 0; rank < blocks_.size(); ++rank) {
    const uint3 at = {rank % shape.cluster.x, rank / shape.cluster.x % shape.cluster.y,
                      rank / shape.cluster.x / shape.cluster.y};
    Block& block = blocks_[rank];
    block = {};
    block.index = {corner.x + at.x, corner.y + at.y, corner.z + at.z};
    block.rank = rank;
    block.cluster = shape.cluster;
    block.first_thread = rank * threads;
    block.threads = block.alive = threads;
    block.shared = shared_[rank];
    block.shared_bytes = shape.shared_bytes;
    memset(block.shared, 0xff, shape.shared_bytes);
    for (unsigned i = 0; i < threads; ++i) {
      Thread& thread = threads_[block.first_thread + i];
      thread = {};
      thread.index = {i % shape.block.x, i / shape.block.x % shape.block.y, i / shape.block.x / shape.block.y};
      thread.rank = i;
      thread.block = &block;
      copies_[block.first_thread + i].Forget();
    }
  }
  std::fill(state_.begin(), state_.end(), (uint8_t)kNew);
  started_ = 0;
  alive_ = threads_.size();
  cluster_arrived_ = 0;
  cluster_phase_ = 1;
}

bool Scheduler::RunCluster(const LaunchShape& shape, uint64_t cluster) {
  SetUp(shape, cluster);
  cursor_ = order_.size();  // no pass before all have started
  ToRunner(FreshRunner());
  while (alive_ > 0 && !failed_) {
    if (kind_ == Order::kShuffle) Permute(order_);
    cursor_ = 0;
    ahead_ = nullptr;
    if (Runner* next = NextRunnable()) ToRunner(next);
    else ReportDeadlock();
  }
  current = nullptr;
  return !failed_;
}

bool Scheduler::Run(const LaunchShape& shape, const std::function<void()>& invoke, std::string* reason) {
  const size_t blocks = (size_t)shape.cluster.x * shape.cluster.y * shape.cluster.z;
  const size_t threads = blocks * shape.block.x * shape.block.y * shape.block.z;
  const uint64_t clusters = (uint64_t)shape.grid.x * shape.grid.y * shape.grid.z / blocks;
  ReadOrder();
  blockDim = shape.block;
  gridDim = shape.grid;
  invoke_ = &invoke;
  target_ = shape.target;
  threads_.assign(threads, Thread{});
  copies_.resize(threads);
  state_.assign(threads, 0);
  order_.resize(threads);
  blocks_.resize(blocks);
  // Exactly what was asked for: the sanitizer then sees an access past its end.
  for (size_t i = 0; i < blocks; ++i) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, std::max<size_t>(shape.shared_bytes, 1)) != 0) abort();
    shared_.push_back(static_cast<unsigned char*>(memory));
  }
  std::vector<uint32_t> cluster_order(kind_ == Order::kShuffle ? clusters : 0);
  Permute(cluster_order);
  failed_ = false;
  for (uint64_t i = 0; i < clusters && !failed_; ++i) {
    Permute(order_);
    RunCluster(shape, kind_ == Order::kShuffle ? cluster_order[i] : kind_ == Order::kReverse ? clusters - 1 - i : i);
  }
  for (unsigned char* shared : shared_) free(shared);
  shared_.clear();
  if (failed_) {  // the fibers that still waited are given up where they stood
    free_.clear();
    for (auto& runner : runners_) {
      ResetRunner(runner.get());
      free_.push_back(runner.get());
    }
    *reason = reason_;
  }
  return !failed_;
}

}  // namespace

bool RunLaunch(const LaunchShape& shape, const std::function<void()>& thread, std::string* reason) {
  static thread_local std::unique_ptr<Scheduler> owner;
  if (!owner) owner = std::make_unique<Scheduler>();
  scheduler = owner.get();
  return scheduler->Run(shape, thread, reason);
}

// ---- what the headers call. `current` is the same OS thread's throughout: a fiber never moves.
Vote SyncThreads(int predicate, Where where) {
  const Block& block = *current->block;
  current->where = where;
  scheduler->WaitAtBarrier(predicate);
  return {block.last_any, block.last_count, block.last_threads};
}

uint64_t WarpWait(WarpOp op, uint32_t mask, uint64_t value, int source, Where where) {
  Thread& thread = *current;
  if (!(mask >> (thread.rank % 32) & 1)) {
    Fail("%s (%s:%d): the mask %08x is without the calling lane %u", where.function, where.file, where.line, mask,
         thread.rank % 32);
  }
  thread.op = op;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  thread.where = where;
  scheduler->WaitInWarp();
  return thread.result;
}

void ClusterArrive() { scheduler->ClusterArrive(); }

void ClusterWait(Where where) {
  Thread& thread = *current;
  if (thread.cluster_phase == 0) {
    Fail("%s (%s:%d): a thread waits at a cluster barrier where it did not arrive", where.function, where.file,
         where.line);
  }
  thread.where = where;
  scheduler->WaitForCluster();
  thread.cluster_phase = 0;
}

unsigned ClusterBlocks() { return scheduler->blocks(); }

void* MapSharedRank(const void* shared, unsigned rank) {
  const Block& mine = *current->block;
  const size_t offset = (size_t)(static_cast<const unsigned char*>(shared) - mine.shared);
  const Block* other = scheduler->BlockOf(rank);
  if (!other) Fail("map_shared_rank: rank %u in a cluster of %u blocks", rank, ClusterBlocks());
  if (offset > mine.shared_bytes) Fail("map_shared_rank: %p is not in the block's dynamic shared memory", shared);
  return other->shared + offset;
}

int RankOfShared(const void* shared) {
  for (unsigned rank = 0; rank < ClusterBlocks(); ++rank) {
    const Block& block = *scheduler->BlockOf(rank);
    if (shared >= block.shared && shared < block.shared + block.shared_bytes) return (int)rank;
  }
  return -1;
}

int Target() { return scheduler->target(); }

void AskForCopy(void* to, const void* from, size_t bytes) {
  memset(to, 0xff, bytes);
  scheduler->copies().asked.push_back({to, from, bytes});
}
void CloseCopies() {
  Copies& copies = scheduler->copies();
  copies.groups.push_back(copies.asked.size());
}
void WaitForCopies(size_t later_groups) {
  Copies& copies = scheduler->copies();
  if (copies.groups.size() > later_groups) copies.Make(copies.groups.size() - later_groups);
}

void Fail(const char* format, ...) {
  char message[512], with_place[600];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  const uint3 at = current->block->index;
  snprintf(with_place, sizeof with_place, "%s [block (%u, %u, %u), thread %u]", message, at.x, at.y, at.z,
           current->rank);
  scheduler->Fail(with_place);
}

}  // namespace prl_emulator

void* prl_emulator_shared() { return prl_emulator::current->block->shared; }
