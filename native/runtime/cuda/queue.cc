#include "runtime/cuda/queue.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "runtime/cuda/device.h"
#include "runtime/cuda/state.h"

namespace prl {
const void* AnyKernel();  // probe.cu

namespace {

constexpr int kSlots = 1024;  // calls whose reports have not been looked at
constexpr size_t kUntold = 64;

// That the addon holds nothing for the GPU. Any other failure may pass, and is reported as it is.
bool IsForOtherGpus(cudaError_t error) {
  return error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
         error == cudaErrorInvalidKernelImage || error == cudaErrorInvalidPtx ||
         error == cudaErrorUnsupportedPtxVersion || error == cudaErrorJitCompilerNotFound;
}

Status FindLimits(int device, DeviceLimits* limits) {
  cudaDeviceProp properties;
  PRL_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  const int capability = 10 * properties.major + properties.minor;
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, AnyKernel());
  if (IsForOtherGpus(error)) {
    cudaGetLastError();
    return Error(
        Code::kUnsupported,
        "this addon was compiled for other GPUs than %s: compile it on this machine, or with PRL_CUDA_ARCH=%d-real",
        properties.name, capability);
  }
  PRL_CUDA_CHECK(error);
  // __CUDA_ARCH__ of the code that runs is 10 times its PTX version, also where the driver compiled that PTX for a
  // newer GPU.
  const int target = attributes.ptxVersion < capability ? attributes.ptxVersion : capability;
  constexpr int kPortableCluster = 8;
  *limits = {target, target >= 90 ? kPortableCluster : 1, properties.multiProcessorCount,
             properties.sharedMemPerBlockOptin};
  return Ok();
}

// What a failed attempt to open leaves behind.
struct Parts {
  CudaReport *device_reports = nullptr, *host_reports = nullptr;
  cudaStream_t stream = nullptr;
  ~Parts() {
    if (stream) cudaStreamDestroy(stream);
    if (host_reports) cudaFreeHost(host_reports);
    if (device_reports) cudaFree(device_reports);
    cudaGetLastError();
  }
};

Status Open(Queue* q, int device) {
  PRL_CUDA_CHECK(cudaSetDevice(device));
  PRL_RETURN_IF_ERROR(FindLimits(device, &q->limits));
  Parts made;
  PRL_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&made.device_reports), kSlots * sizeof(CudaReport)));
  PRL_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&made.host_reports), kSlots * sizeof(CudaReport)));
  // Does not wait for the default stream of another library in this process, nor it for us.
  PRL_CUDA_CHECK(cudaStreamCreateWithFlags(&made.stream, cudaStreamNonBlocking));
  std::swap(q->device_reports, made.device_reports);
  std::swap(q->host_reports, made.host_reports);
  std::swap(q->stream, made.stream);
  for (int i = kSlots - 1; i >= 0; --i) q->free_slots.push_back(i);
  const char* caching = getenv("PRL_CUDA_CACHE");
  q->caching = !caching || strcmp(caching, "off") != 0;
  q->device = device;
  return Ok();
}

Status OpenOnce(Queue* q) {
  const std::lock_guard<std::mutex> lock(q->opening);
  if (q->open) return Ok();
  int32_t device = 0;
  PRL_RETURN_IF_ERROR(CudaChosenDevice(&device));
  const Status opened = Open(q, device);
  if (opened.code == Code::kUnsupported) return opened;
  if (!opened.ok()) return Error(opened.code, "GPU %d cannot be used: %.220s", device, opened.message);
  q->open = true;
  return Ok();
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
  return Error(status.code, "%s: %s", ticket.kernel, text);
}

// Takes the results of the calls that are over. Fails where the GPU does. Under the mutex.
Status Sweep(Queue& q) {
  while (!q.pending.empty()) {
    const CudaTicketPtr& ticket = q.pending.front();
    if (!ticket->over) {
      const cudaError_t error = cudaEventQuery(ticket->done);
      if (error == cudaErrorNotReady) {
        cudaGetLastError();
        return Ok();  // what was queued later is not ready either
      }
      PRL_CUDA_CHECK(error);
      Settle(q, *ticket);
    }
    if (ticket->result.failure != kNoFailure && !ticket->told) {
      if (q.untold.size() == kUntold) q.untold.pop_back();
      q.untold.push_back(ticket);
    }
    q.pending.pop_front();
    q.oldest = q.pending.empty() ? nullptr : q.pending.front()->kernel;
  }
  return Ok();
}

// Numbers of threads; those of the system are used again.
uint64_t ThisThread() {
  static std::atomic<uint64_t> threads{0};
  thread_local const uint64_t number = ++threads;
  return number;
}

// A point in the queue.
struct MarkEvent {
  cudaEvent_t event = nullptr;
  uint64_t number = 0, thread = 0;
  ~MarkEvent() {
    if (event) cudaEventDestroy(event);
  }
};

}  // namespace

Queue& TheQueue() {
  static Queue* queue = new Queue;
  return *queue;
}

Status CudaUse() {
  Queue& q = TheQueue();
  if (!q.open) PRL_RETURN_IF_ERROR(OpenOnce(&q));
  // Each time: another library may have chosen another GPU for this thread.
  int current = -1;
  if (cudaGetDevice(&current) != cudaSuccess || current != q.device) PRL_CUDA_CHECK(cudaSetDevice(q.device));
  return Ok();
}

Status WaitForEvent(cudaEvent_t event) {
  // A sleeping thread wakes some 50 us after its event. So a wait takes at most twice as long as if it had known.
  const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
  do {
    const cudaError_t error = cudaEventQuery(event);
    if (error == cudaSuccess) return Ok();
    if (error != cudaErrorNotReady) return CudaFailure(error, "when waiting for %s", "the GPU");
    cudaGetLastError();
  } while (std::chrono::steady_clock::now() < until);
  const cudaError_t error = cudaEventSynchronize(event);
  return error == cudaSuccess ? Ok() : CudaFailure(error, "when waiting for %s", "the GPU");
}

Status CudaHealth() {
  const cudaError_t error = cudaStreamQuery(TheQueue().stream);
  if (error == cudaSuccess || error == cudaErrorNotReady) {
    cudaGetLastError();
    return Ok();
  }
  return CudaFailure(error, "on %s", "the stream");
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
  std::unique_lock<std::mutex> lock(q.mutex);
  PRL_RETURN_IF_ERROR(Sweep(q));
  while (q.free_slots.empty() && !q.pending.empty()) {
    // A thousand calls ahead of the GPU: wait for the oldest.
    const CudaTicketPtr oldest = q.pending.front();
    lock.unlock();
    PRL_RETURN_IF_ERROR(WaitForEvent(oldest->done));
    lock.lock();
    PRL_RETURN_IF_ERROR(Sweep(q));
  }
  if (q.free_slots.empty()) return Error(Code::kInternal, "no slot for the report of a call");
  ticket_ = std::make_shared<CudaTicket>();
  PRL_CUDA_CHECK(cudaEventCreateWithFlags(&ticket_->done, kEventFlags));
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
  if (q.pending.empty()) q.oldest = kernel;
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
  PRL_RETURN_IF_ERROR(WaitForEvent(ticket->done));
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
  PRL_CUDA_CHECK(cudaEventCreateWithFlags(&made->event, cudaEventBlockingSync));  // timed
  const std::lock_guard<std::mutex> lock(q.mutex);
  PRL_CUDA_CHECK(cudaEventRecord(made->event, q.stream));
  made->number = q.queued;
  made->thread = ThisThread();
  *mark = made;
  return Ok();
}

Status CudaWaitFor(const CudaMark& mark) {
  PRL_RETURN_IF_ERROR(CudaUse());
  return WaitForEvent(static_cast<MarkEvent*>(mark.get())->event);
}

Status CudaFailuresUntil(const CudaMark& mark) {
  Queue& q = TheQueue();
  const std::lock_guard<std::mutex> lock(q.mutex);
  PRL_RETURN_IF_ERROR(Sweep(q));
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

}  // namespace prl
