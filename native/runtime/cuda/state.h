// The state behind queue.h: of the process, shared by queue.cc and memory.cc.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
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
  std::string kernel;
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

// Made once and never destroyed: worker threads may outlive the environment that made it.
struct Queue {
  std::mutex mutex;
  Status failed;  // why there is no GPU
  int32_t device = 0;
  cudaStream_t stream = nullptr;
  DeviceLimits limits{};

  // PRL_CUDA_CACHE=off: every allocation is one of CUDA's, as large as was asked for, and goes back to it at once. For
  // sanitizers, which know nothing of what lies within an allocation.
  bool caching = true;
  std::multimap<size_t, void*> cache;
  std::unordered_map<void*, size_t> live;
  CudaMemoryUse use{0, 0, 0};
  std::vector<PinnedBlock> pinned;

  CudaReport* device_reports = nullptr;
  CudaReport* host_reports = nullptr;
  std::vector<int> free_slots;
  std::deque<CudaTicketPtr> pending;
  std::deque<CudaTicketPtr> untold;  // calls that ended badly, until it is told; beyond kUntold only the last
  uint64_t queued = 0;
};

// The GPU is opened by the first who asks.
Queue& TheQueue();

}  // namespace prl
