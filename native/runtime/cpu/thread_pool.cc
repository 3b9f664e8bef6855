#include "runtime/cpu/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace prl {
namespace {

constexpr int kMaxThreads = 256;
// How long an idle worker looks for the next piece of work before it sleeps, in pauses of the processor (about 50 us):
// a layer of a small model is shorter than a wake-up.
constexpr int kSpins = 2000;

thread_local bool inside_task = false;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Job {
  TaskFn fn;
  void* context;
  int64_t count;
  std::atomic<int64_t> next{0};
  std::atomic<int> attached{0};  // workers inside; goes up only under Pool::mutex while the job is listed
};

class Pool {
 public:
  // Never destroyed: threads may outlive static destruction, and node unloads addons whenever it likes.
  static Pool& Get() {
    static Pool* pool = new Pool();
    return *pool;
  }

  int threads() const { return limit_.load(std::memory_order_relaxed); }

  void SetThreads(int n) { limit_.store(std::clamp(n, 1, kMaxThreads), std::memory_order_relaxed); }

  void Run(int64_t count, TaskFn fn, void* context) {
    Job job;
    job.fn = fn;
    job.context = context;
    job.count = count;
    Grow();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      jobs_.push_back(&job);
      posted_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_seq_cst) > 0) wake_.notify_all();
    Work(job);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    }
    // The last tasks are short as a rule: look a moment before sleeping.
    for (int spin = 0; spin < kSpins; ++spin) {
      if (job.attached.load(std::memory_order_acquire) == 0) return;
      Pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return job.attached.load(std::memory_order_acquire) == 0; });
  }

 private:
  Pool() {
    int n = 0;
    if (const char* asked = std::getenv("PRL_THREADS")) n = std::atoi(asked);
#if defined(__linux__)
    if (n < 1) {
      cpu_set_t set;
      if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    }
#endif
    if (n < 1) n = static_cast<int>(std::thread::hardware_concurrency());
    SetThreads(n);
  }

  static void Work(Job& job) {
    inside_task = true;
    for (int64_t i; (i = job.next.fetch_add(1, std::memory_order_relaxed)) < job.count;) job.fn(job.context, i);
    inside_task = false;
  }

  void Grow() {
    if (started_.load(std::memory_order_acquire) >= threads() - 1) return;
    std::lock_guard<std::mutex> lock(mutex_);
    for (int i = started_.load(std::memory_order_relaxed); i < threads() - 1; ++i) {
      std::thread([this, i] { Loop(i); }).detach();
      started_.store(i + 1, std::memory_order_release);
    }
  }

  // A job with tasks left, or null. The mutex is held.
  Job* Find(int worker) {
    if (worker >= threads() - 1) return nullptr;
    for (Job* job : jobs_) {
      if (job->next.load(std::memory_order_relaxed) < job->count) return job;
    }
    return nullptr;
  }

  void Loop(int worker) {
    uint64_t seen = 0;
    for (;;) {
      // Look for a while first: the next job of a small model comes sooner than a wake-up would.
      for (int spin = 0; spin < kSpins && posted_.load(std::memory_order_acquire) == seen; ++spin) Pause();
      std::unique_lock<std::mutex> lock(mutex_);
      if (posted_.load(std::memory_order_relaxed) == seen) {
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        wake_.wait(lock, [&] { return posted_.load(std::memory_order_relaxed) != seen; });
        sleeping_.fetch_sub(1, std::memory_order_seq_cst);
      }
      seen = posted_.load(std::memory_order_relaxed);
      while (Job* job = Find(worker)) {
        job->attached.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        Work(*job);
        lock.lock();
        // After this the job may be gone: its caller returns when it sees 0.
        if (job->attached.fetch_sub(1, std::memory_order_acq_rel) == 1) done_.notify_all();
      }
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Job*> jobs_;
  std::atomic<uint64_t> posted_{0};
  std::atomic<int> sleeping_{0}, started_{0}, limit_{1};
};

}  // namespace

int NumThreads() { return Pool::Get().threads(); }
void SetNumThreads(int n) { Pool::Get().SetThreads(n); }

bool InTask() { return inside_task; }

void ParallelForRaw(int64_t count, TaskFn fn, void* context) {
  if (count <= 0) return;
  if (count == 1 || inside_task || NumThreads() == 1) {
    for (int64_t i = 0; i < count; ++i) fn(context, i);
    return;
  }
  Pool::Get().Run(count, fn, context);
}

}  // namespace prl
