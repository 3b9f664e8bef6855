// The one thread pool of the process: made at first use, never destroyed, shared by every caller (worker_threads too).
//
// Work is cut by the caller into `count` tasks whose results do not depend on which thread runs them; so results are
// the same bit for bit for any number of threads. A ParallelFor inside a task runs its tasks inline, one after the
// other:
// code may be parallel inside or outside without knowing which.
#pragma once

#include <cstdint>

namespace prl {

// PRL_THREADS, else the processors that this process may use.
int NumThreads();
// Takes effect for calls that begin after it; 1 <= n <= 256. For tests and benchmarks.
void SetNumThreads(int n);

// Whether the calling thread runs a task: a ParallelFor then runs inline.
bool InTask();

using TaskFn = void (*)(void* context, int64_t index);
// Runs fn(context, i) for i in [0, count) and returns when all have ended. fn must not throw.
void ParallelForRaw(int64_t count, TaskFn fn, void* context);

template <typename F>
static inline void ParallelFor(int64_t count, const F& f) {
  ParallelForRaw(
      count, [](void* context, int64_t index) { (*static_cast<const F*>(context))(index); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

// Rows cut in pieces of `grain`, whatever the number of threads: f(begin, end).
template <typename F>
static inline void ParallelRows(int64_t rows, int64_t grain, const F& f) {
  ParallelFor((rows + grain - 1) / grain, [&](int64_t piece) {
    const int64_t begin = piece * grain;
    f(begin, begin + grain < rows ? begin + grain : rows);
  });
}

// *least = min(*least, value), from any task: for the first failure, whichever thread sees it.
static inline void AtomicMin(int64_t* least, int64_t value) {
  int64_t seen = __atomic_load_n(least, __ATOMIC_RELAXED);
  while (value < seen && !__atomic_compare_exchange_n(least, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

}  // namespace prl
