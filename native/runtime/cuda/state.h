// The state behind queue.h: of the process, shared by queue.cc and memory.cc.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "runtime/cuda/launch.h"
#include "runtime/cuda/queue.h"

namespace prl {

class CudaTicket {
 public:
  ~CudaTicket() {
    if (done) cudaEventDestroy(done);
  }
  int slot = -1;
  cudaEvent_t done = nullptr;
  uint64_t number = 0;  // in the order of the queue
  uint64_t thread = 0;  // that made the call
  const char* kernel = nullptr;
  CudaDescribe describe;
  CudaReport result;  // once it is over
  bool over = false, told = false;
};

struct PinnedBlock {
  void* memory;
  size_t bytes;
  cudaEvent_t last_use;
  bool taken;
};

struct LiveBlock {
  size_t bytes;
  bool exported;  // another process may see it: it is never used again
};

// Made once and never destroyed: worker threads may outlive the environment that made it.
struct Queue {
  std::mutex opening;
  std::atomic<bool> open{false};  // an attempt that failed is made again by the next who asks
  std::mutex mutex;
  int32_t device = 0;
  cudaStream_t stream = nullptr;
  DeviceLimits limits{};

  // PRL_CUDA_CACHE=off: every allocation is one of CUDA's, as large as was asked for, and goes back to it at once. For
  // sanitizers, which know nothing of what lies within an allocation.
  bool caching = true;
  std::multimap<size_t, void*> cache;
  std::unordered_map<void*, LiveBlock> live;
  CudaMemoryUse use{0, 0, 0};
  std::vector<PinnedBlock> pinned;
  std::mutex emptying;  // held by the thread that gives the cache back

  CudaReport* device_reports = nullptr;
  CudaReport* host_reports = nullptr;
  std::vector<int> free_slots;
  std::deque<CudaTicketPtr> pending;
  std::deque<CudaTicketPtr> untold;  // calls that ended badly, until it is told; beyond kUntold only the last
  uint64_t queued = 0;
  std::atomic<const char*> oldest{nullptr};  // the kernel of the first in `pending`, for messages

  std::mutex kernels;  // guards what follows: what CUDA was asked about kernels
  std::unordered_set<const void*> shared_allowed;
  std::map<std::tuple<const void*, int, int, size_t>, bool> clusters_fit;  // kernel, threads, cluster, shared bytes
};

Queue& TheQueue();

// Events are waited for with WaitForEvent, so they are made with this flag.
constexpr unsigned kEventFlags = cudaEventBlockingSync | cudaEventDisableTiming;
// Looks again and again for a moment, then sleeps. Takes no lock.
Status WaitForEvent(cudaEvent_t event);

}  // namespace prl
