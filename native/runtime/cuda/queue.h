// The one GPU of the process (PRL_DEVICE: "cuda" or "cuda:N"; "cpu" switches it off), its one stream, and its memory.
//
// Everything is queued on that stream in the order of the calls, from whichever thread they come. So memory that is
// released can be handed out again at once: what is queued later runs later. Nothing here waits unless it says so.
//
// How a kernel runs on the GPU: the binding fills the same arguments as for the CPU, with device pointers, then
//
//     CudaCall call;
//     PRL_RETURN_IF_ERROR(call.Begin(XCudaWorkspace(args)));   // a zero-cost report slot, and scratch
//     PRL_RETURN_IF_ERROR(XCuda(args, call));                  // launches (runtime/cuda/launch.h); nothing has run yet
//     PRL_RETURN_IF_ERROR(call.End("x", describe, &ticket));   // the report follows the kernels on the stream
//
// What the kernel finds wrong shows when the host next waits: for the ticket, or for the stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/status.h"

namespace prl {

// What the kernels of a call leave for the host, in device memory and then in pinned memory. It starts as all ones.
constexpr uint64_t kNoFailure = ~uint64_t{0};
struct CudaReport {
  unsigned long long failure;  // kNoFailure, or a word that the kernel's CudaDescribe reads
  // For "the last block to finish": starts at all ones, so that the k-th atomicAdd returns k - 2
  unsigned counter;
  unsigned count;     // of the active tokens of a loss; starts at all ones too
  double values[20];  // the results that go to the host (the sums of a loss)
};

// What a failure word means, as an error. The runtime knows no kernels: who queues a call says how to read its report.
using CudaDescribe = std::function<Status(uint64_t failure)>;

// A call that was queued. Its report can be read when it is done.
class CudaTicket;
using CudaTicketPtr = std::shared_ptr<CudaTicket>;

struct CudaCall {
  CudaCall() = default;
  CudaCall(const CudaCall&) = delete;
  CudaCall& operator=(const CudaCall&) = delete;
  ~CudaCall();  // gives the workspace back

  Status Begin(size_t workspace_bytes);
  // `kernel`: the public name (a literal), for messages; `describe` is asked once a failure is found. ticket may be
  // null.
  Status End(const char* kernel, CudaDescribe describe, CudaTicketPtr* ticket);

  void* stream = nullptr;
  CudaReport* report = nullptr;  // in device memory
  void* workspace = nullptr;     // on a 512-byte boundary

 private:
  CudaTicketPtr ticket_;
};

// Binds the GPU to the calling thread; the first call chooses it and makes the stream. Fails with the reason and the
// remedy where there is none; the next call then tries again.
Status CudaUse();
// The fault of code that ran on the GPU, if there was one. After CudaUse; waits for nothing.
Status CudaHealth();
int CudaDeviceIndex();  // after CudaUse
void* CudaStream();     // after CudaUse

// Waits for the call and gives its values (20), or its failure.
Status CudaWait(const CudaTicketPtr& ticket, const double** values);
// A point in the queue that a thread can wait for.
using CudaMark = std::shared_ptr<void>;
Status CudaMarkNow(CudaMark* mark);
Status CudaWaitFor(const CudaMark& mark);
// The first failure among this thread's calls that ended before `mark` (made by the same thread; has been waited for),
// once.
Status CudaFailuresUntil(const CudaMark& mark);
// Milliseconds of the GPU between two marks, which are waited for.
Status CudaElapsed(const CudaMark& from, const CudaMark& to, float* milliseconds);

// Device memory from a cache: at least `bytes`, on a 512-byte boundary, uninitialised. Under pressure the cache is
// emptied first.
Status CudaAllocate(size_t bytes, void** pointer);
void CudaRelease(void* pointer);
struct CudaMemoryUse {
  int64_t in_use, peak, cached;  // of this process's tensors and workspaces, in bytes
};
CudaMemoryUse CudaMemory(bool reset_peak);
// Gives the cache and unused pinned memory back; `bytes`: of the GPU. Waits for what is queued.
Status CudaEmptyCache(int64_t* bytes);

// Copies through pinned memory. Upload: `from` can be changed at return; beyond 64 MiB it waits until the GPU has come
// to it. Download: begins now; Finish waits (from any
// thread) and copies to `to`.
Status CudaUpload(void* to, const void* from, size_t bytes);
struct CudaDownload;
Status CudaBeginDownload(const void* from, size_t bytes, std::shared_ptr<CudaDownload>* download);
Status CudaFinishDownload(const std::shared_ptr<CudaDownload>& download, void* to);
Status CudaCopy(void* to, const void* from, size_t bytes);  // on the device
Status CudaFill(void* to, int byte, size_t bytes);

// Memory that is not ours. Wrap: checks that `pointer` is memory of this GPU with `bytes` behind it. Nothing is freed.
Status CudaCheckPointer(const void* pointer, size_t bytes);
// Makes memory of CudaAllocate fit to be shared: nothing else can be seen with it. It may move if `may_move`, with its
// first `bytes` bytes. It is not used again after its release. Waits for the stream.
Status CudaIsolate(void** pointer, size_t bytes, bool may_move);
// 64 bytes that another process on this machine opens; offset: where `pointer` lies in the allocation that they name.
Status CudaExportIpc(void* pointer, unsigned char handle[64], int64_t* offset);
// Opens such a handle, or uses it again: `base` is where its allocation begins here. Fails unless
// [offset, offset + bytes) lies in it.
Status CudaImportIpc(const unsigned char handle[64], size_t offset, size_t bytes, void** base);
void CudaCloseIpc(void* base);  // the last user waits for the stream

}  // namespace prl
