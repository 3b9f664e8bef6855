#include "runtime/cuda/queue.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "runtime/cuda/device.h"
#include "runtime/cuda/state.h"

namespace prl {
const void* AnyKernel();  // probe.cu

namespace {

constexpr int kSlots = 1024;  // calls whose reports have not been looked at
constexpr size_t kUntold = 64;

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
  static Queue* queue = [] {
    Queue* made = new Queue;
    made->failed = Open(made);
    return made;
  }();
  return *queue;
}

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

}  // namespace prl
