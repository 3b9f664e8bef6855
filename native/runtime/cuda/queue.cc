#include "runtime/cuda/queue.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/cuda/device.h"
#include "runtime/cuda/launch.h"

namespace prl {
const void* AnyKernel();  // probe.cu

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

namespace {

constexpr int kSlots = 1024;  // calls whose reports have not been looked at
constexpr size_t kUntold = 64;
constexpr size_t kKeepPinned = size_t{64} << 20;

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

Status Open(Queue* q) {
  PRL_RETURN_IF_ERROR(CudaChosenDevice(&q->device));
  const char* caching = getenv("PRL_CUDA_CACHE");
  q->caching = !caching || strcmp(caching, "off") != 0;
  PRL_CUDA_CHECK(cudaSetDevice(q->device));
  cudaDeviceProp properties;
  PRL_CUDA_CHECK(cudaGetDeviceProperties(&properties, q->device));
  q->limits = {10 * properties.major + properties.minor, properties.multiProcessorCount,
               properties.sharedMemPerBlockOptin};
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, AnyKernel()) != cudaSuccess) {
    cudaGetLastError();
    return Error(
        Code::kUnsupported,
        "this addon was compiled for other GPUs than %s: compile it on this machine, or with PRL_CUDA_ARCH=%d-real",
        properties.name, q->limits.compute_capability);
  }
  PRL_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&q->device_reports), kSlots * sizeof(CudaReport)));
  PRL_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&q->host_reports), kSlots * sizeof(CudaReport)));
  for (int i = kSlots - 1; i >= 0; --i) q->free_slots.push_back(i);
  // Does not wait for the default stream of another library in this process, nor it for us.
  PRL_CUDA_CHECK(cudaStreamCreateWithFlags(&q->stream, cudaStreamNonBlocking));
  return Ok();
}

Queue& TheQueue() {
  static Queue* queue = [] {
    Queue* made = new Queue;
    made->failed = Open(made);
    return made;
  }();
  return *queue;
}

// A ticket whose event has passed: its result is taken and its slot is free again. Under the mutex.
void Settle(Queue& q, CudaTicket& ticket) {
  if (ticket.over) return;
  ticket.result = q.host_reports[ticket.slot];
  ticket.over = true;
  q.free_slots.push_back(ticket.slot);
  ticket.slot = -1;
}

Status FailureOf(const CudaTicket& ticket) {
  if (ticket.result.failure == kNoFailure) return Ok();
  const Status status = ticket.describe(ticket.result.failure);
  char text[sizeof status.message];
  memcpy(text, status.message, sizeof text);
  return Error(status.code, "%s: %s", ticket.kernel.c_str(), text);
}

// Takes the results of the calls that are over. Under the mutex.
void Sweep(Queue& q) {
  while (!q.pending.empty()) {
    const CudaTicketPtr& ticket = q.pending.front();
    if (!ticket->over) {
      if (cudaEventQuery(ticket->done) != cudaSuccess) {
        cudaGetLastError();  // "not ready" is no error
        return;              // what was queued later is not ready either
      }
      Settle(q, *ticket);
    }
    if (ticket->result.failure != kNoFailure && !ticket->told) {
      if (q.untold.size() == kUntold) q.untold.pop_back();
      q.untold.push_back(ticket);
    }
    q.pending.pop_front();
  }
}

// Numbers of threads; those of the system are used again.
uint64_t ThisThread() {
  static std::atomic<uint64_t> threads{0};
  thread_local const uint64_t number = ++threads;
  return number;
}

// Small blocks in steps of 512 bytes, large ones in steps of 2 MiB, so that blocks fit again.
size_t RoundUp(const Queue& q, size_t bytes) {
  if (!q.caching) return bytes ? bytes : 1;
  const size_t step = bytes <= (size_t{1} << 20) ? 512 : size_t{2} << 20;
  return bytes == 0 ? step : (bytes + step - 1) / step * step;
}

void EmptyCache(Queue& q) {
  cudaStreamSynchronize(q.stream);
  for (const auto& [bytes, pointer] : q.cache) cudaFree(pointer);
  q.cache.clear();
  q.use.cached = 0;
}

Status AcquirePinned(Queue& q, size_t bytes, PinnedBlock** block) {
  for (;;) {
    PinnedBlock* fits = nullptr;
    for (auto it = q.pinned.begin(); it != q.pinned.end();) {
      const bool idle = !it->taken && cudaEventQuery(it->last_use) == cudaSuccess;
      if (!idle) cudaGetLastError();
      // Large, and of no use now
      if (idle && it->bytes > kKeepPinned && (it->bytes < bytes || it->bytes / 2 > bytes)) {
        cudaEventDestroy(it->last_use);
        cudaFreeHost(it->memory);
        it = q.pinned.erase(it);
        continue;
      }
      if (idle && it->bytes >= bytes && (!fits || it->bytes < fits->bytes)) fits = &*it;
      ++it;
    }
    if (fits) {
      fits->taken = true;
      *block = fits;
      return Ok();
    }
    q.pinned.reserve(q.pinned.size() + 1);
    PinnedBlock made{nullptr, bytes < 4096 ? 4096 : bytes, nullptr, false};
    if (cudaMallocHost(&made.memory, made.bytes) != cudaSuccess) {
      cudaGetLastError();
      return Error(Code::kOutOfMemory, "%zu bytes of pinned memory could not be had for a copy to or from the GPU",
                   bytes);
    }
    const cudaError_t error = cudaEventCreateWithFlags(&made.last_use, cudaEventDisableTiming);
    if (error != cudaSuccess) {
      cudaFreeHost(made.memory);
      PRL_CUDA_CHECK(error);
    }
    q.pinned.push_back(made);
  }
}

// What is queued so far may still read or write the block. Under the mutex.
void ReleasePinned(Queue& q, void* memory) {
  for (PinnedBlock& block : q.pinned) {
    if (block.memory != memory) continue;
    cudaEventRecord(block.last_use, q.stream);
    block.taken = false;
  }
}

struct MarkEvent {
  cudaEvent_t event = nullptr;
  uint64_t number = 0, thread = 0;
  ~MarkEvent() {
    if (event) cudaEventDestroy(event);
  }
};

}  // namespace

Status CudaUse() {
  Queue& q = TheQueue();
  if (!q.failed.ok()) return q.failed;
  thread_local bool bound = false;
  if (!bound) PRL_CUDA_CHECK(cudaSetDevice(q.device));
  bound = true;
  return Ok();
}

int CudaDeviceIndex() { return TheQueue().device; }
void* CudaStream() { return TheQueue().stream; }

Status CudaLimits(DeviceLimits* limits) {
  PRL_RETURN_IF_ERROR(CudaUse());
  *limits = TheQueue().limits;
  return Ok();
}

Status CudaCall::Begin(size_t workspace_bytes) {
  PRL_RETURN_IF_ERROR(CudaUse());
  Queue& q = TheQueue();
  if (workspace_bytes) PRL_RETURN_IF_ERROR(CudaAllocate(workspace_bytes, &workspace));
  const std::lock_guard<std::mutex> lock(q.mutex);
  Sweep(q);
  if (q.free_slots.empty()) {
    // A thousand calls ahead of the GPU: wait for the oldest.
    if (!q.pending.empty()) PRL_CUDA_CHECK(cudaEventSynchronize(q.pending.front()->done));
    Sweep(q);
  }
  if (q.free_slots.empty()) return Error(Code::kInternal, "no slot for the report of a call");
  ticket_ = std::make_shared<CudaTicket>();
  PRL_CUDA_CHECK(cudaEventCreateWithFlags(&ticket_->done, cudaEventDisableTiming));
  ticket_->slot = q.free_slots.back();
  q.free_slots.pop_back();  // from here on the destructor gives it back
  stream = q.stream;
  report = q.device_reports + ticket_->slot;
  PRL_CUDA_CHECK(cudaMemsetAsync(report, 0xFF, sizeof(CudaReport), q.stream));
  return Ok();
}

Status CudaCall::End(const char* kernel, CudaDescribe describe, CudaTicketPtr* ticket) {
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  PRL_CUDA_CHECK(
      cudaMemcpyAsync(q.host_reports + ticket_->slot, report, sizeof(CudaReport), cudaMemcpyDeviceToHost, q.stream));
  PRL_CUDA_CHECK(cudaEventRecord(ticket_->done, q.stream));
  ticket_->kernel = kernel;
  ticket_->describe = std::move(describe);
  ticket_->number = ++q.queued;
  ticket_->thread = ThisThread();
  q.pending.push_back(ticket_);
  if (ticket) *ticket = ticket_;
  ticket_.reset();
  return Ok();
}

CudaCall::~CudaCall() {
  if (workspace) CudaRelease(workspace);
  if (!ticket_) return;  // ended, or never begun
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  if (ticket_->slot >= 0) q.free_slots.push_back(ticket_->slot);
}

Status CudaWait(const CudaTicketPtr& ticket, const double** values) {
  PRL_RETURN_IF_ERROR(CudaUse());
  PRL_CUDA_CHECK(cudaEventSynchronize(ticket->done));
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  Settle(q, *ticket);
  ticket->told = true;
  PRL_RETURN_IF_ERROR(FailureOf(*ticket));
  *values = ticket->result.values;
  return Ok();
}

Status CudaMarkNow(CudaMark* mark) {
  PRL_RETURN_IF_ERROR(CudaUse());
  Queue& q = TheQueue();
  const auto made = std::make_shared<MarkEvent>();
  PRL_CUDA_CHECK(cudaEventCreate(&made->event));
  const std::lock_guard<std::mutex> lock(q.mutex);
  PRL_CUDA_CHECK(cudaEventRecord(made->event, q.stream));
  made->number = q.queued;
  made->thread = ThisThread();
  *mark = made;
  return Ok();
}

Status CudaWaitFor(const CudaMark& mark) {
  PRL_RETURN_IF_ERROR(CudaUse());
  PRL_CUDA_CHECK(cudaEventSynchronize(static_cast<MarkEvent*>(mark.get())->event));
  return Ok();
}

Status CudaFailuresUntil(const CudaMark& mark) {
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  Sweep(q);
  Status first;
  const auto& until = *static_cast<MarkEvent*>(mark.get());
  for (size_t i = 0; i < q.untold.size();) {
    CudaTicket& ticket = *q.untold[i];
    if (!ticket.told && (ticket.thread != until.thread || ticket.number > until.number)) {
      ++i;
      continue;
    }
    if (first.ok() && !ticket.told) first = FailureOf(ticket);
    ticket.told = true;
    q.untold.erase(q.untold.begin() + (ptrdiff_t)i);
  }
  return first;
}

Status CudaElapsed(const CudaMark& from, const CudaMark& to, float* milliseconds) {
  PRL_RETURN_IF_ERROR(CudaWaitFor(from));
  PRL_RETURN_IF_ERROR(CudaWaitFor(to));
  PRL_CUDA_CHECK(cudaEventElapsedTime(milliseconds, static_cast<MarkEvent*>(from.get())->event,
                                      static_cast<MarkEvent*>(to.get())->event));
  return Ok();
}

Status CudaAllocate(size_t bytes, void** pointer) {
  PRL_RETURN_IF_ERROR(CudaUse());
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  const size_t wanted = RoundUp(q, bytes);
  // A cached block may be larger by a quarter, not more: the rest of it would be lost.
  const auto found = q.cache.lower_bound(wanted);
  size_t got = wanted;
  if (found != q.cache.end() && found->first <= wanted + wanted / 4) {
    got = found->first;
    *pointer = found->second;
    q.cache.erase(found);
    q.use.cached -= (int64_t)got;
  } else {
    cudaError_t error = cudaMalloc(pointer, wanted);
    if (error == cudaErrorMemoryAllocation && !q.cache.empty()) {
      cudaGetLastError();
      EmptyCache(q);
      error = cudaMalloc(pointer, wanted);
    }
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      size_t free_bytes = 0, total = 0;
      cudaMemGetInfo(&free_bytes, &total);
      return Error(Code::kOutOfMemory,
                   "%.1f MiB of GPU memory were asked for, but %.1f of %.1f MiB are free (this process uses %.1f MiB)",
                   (double)bytes / 1048576, (double)free_bytes / 1048576, (double)total / 1048576,
                   (double)q.use.in_use / 1048576);
    }
    PRL_CUDA_CHECK(error);
  }
  q.live.emplace(*pointer, got);
  q.use.in_use += (int64_t)got;
  if (q.use.in_use > q.use.peak) q.use.peak = q.use.in_use;
  return Ok();
}

void CudaRelease(void* pointer) {
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  const auto found = q.live.find(pointer);
  if (found == q.live.end()) return;
  q.use.in_use -= (int64_t)found->second;
  if (q.caching) {
    q.use.cached += (int64_t)found->second;
    q.cache.emplace(found->second, pointer);
  } else {
    cudaFree(pointer);  // waits for what uses it
  }
  q.live.erase(found);
}

CudaMemoryUse CudaMemory(bool reset_peak) {
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  const CudaMemoryUse use = q.use;
  if (reset_peak) q.use.peak = q.use.in_use;
  return use;
}

Status CudaUpload(void* to, const void* from, size_t bytes) {
  PRL_RETURN_IF_ERROR(CudaUse());
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  // In pieces, so that copying into pinned memory and copying to the GPU overlap and pinned memory stays bounded.
  constexpr size_t kPiece = size_t{32} << 20;
  for (size_t done = 0; done < bytes; done += kPiece) {
    const size_t n = bytes - done < kPiece ? bytes - done : kPiece;
    // At most two large pieces under way.
    if (done >= 2 * kPiece) PRL_CUDA_CHECK(cudaStreamSynchronize(q.stream));
    PinnedBlock* block = nullptr;
    PRL_RETURN_IF_ERROR(AcquirePinned(q, n, &block));
    void* const staging = block->memory;
    memcpy(staging, static_cast<const char*>(from) + done, n);
    const cudaError_t error =
        cudaMemcpyAsync(static_cast<char*>(to) + done, staging, n, cudaMemcpyHostToDevice, q.stream);
    ReleasePinned(q, staging);
    PRL_CUDA_CHECK(error);
  }
  return Ok();
}

struct CudaDownload {
  void* staging = nullptr;
  size_t bytes = 0;
  CudaMark mark;
  ~CudaDownload() {
    if (!staging) return;
    Queue& q = TheQueue();
    const std::lock_guard<std::mutex> lock(q.mutex);
    ReleasePinned(q, staging);
  }
};

Status CudaBeginDownload(const void* from, size_t bytes, std::shared_ptr<CudaDownload>* download) {
  PRL_RETURN_IF_ERROR(CudaUse());
  Queue& q = TheQueue();
  auto made = std::make_shared<CudaDownload>();
  made->bytes = bytes;
  if (bytes) {
    const std::lock_guard<std::mutex> lock(q.mutex);
    PinnedBlock* block = nullptr;
    PRL_RETURN_IF_ERROR(AcquirePinned(q, bytes, &block));
    made->staging = block->memory;
    PRL_CUDA_CHECK(cudaMemcpyAsync(made->staging, from, bytes, cudaMemcpyDeviceToHost, q.stream));
  }
  PRL_RETURN_IF_ERROR(CudaMarkNow(&made->mark));
  *download = std::move(made);
  return Ok();
}

Status CudaFinishDownload(const std::shared_ptr<CudaDownload>& download, void* to) {
  PRL_RETURN_IF_ERROR(CudaWaitFor(download->mark));
  PRL_RETURN_IF_ERROR(CudaFailuresUntil(download->mark));
  if (download->bytes) memcpy(to, download->staging, download->bytes);
  return Ok();
}

Status CudaCopy(void* to, const void* from, size_t bytes) {
  PRL_RETURN_IF_ERROR(CudaUse());
  PRL_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, TheQueue().stream));
  return Ok();
}

Status CudaFill(void* to, int byte, size_t bytes) {
  PRL_RETURN_IF_ERROR(CudaUse());
  if (bytes) PRL_CUDA_CHECK(cudaMemsetAsync(to, byte, bytes, TheQueue().stream));
  return Ok();
}

}  // namespace prl
