// Memory of the GPU: a cache of blocks, and copies through pinned memory.
#include <cstring>

#include "runtime/cuda/state.h"

namespace prl {
namespace {

constexpr size_t kKeepPinned = size_t{64} << 20;

// Small blocks in steps of 512 bytes, large ones in steps of 2 MiB, so that blocks fit again.
size_t RoundUp(const Queue& q, size_t bytes) {
  if (!q.caching) return bytes ? bytes : 1;
  const size_t step = bytes <= (size_t{1} << 20) ? 512 : size_t{2} << 20;
  return bytes == 0 ? step : (bytes + step - 1) / step * step;
}

// Pinned memory that nothing uses goes back to the system. Under the mutex.
void FreeIdlePinned(Queue& q) {
  for (auto it = q.pinned.begin(); it != q.pinned.end();) {
    if (it->taken || cudaEventQuery(it->last_use) != cudaSuccess) {
      cudaGetLastError();
      ++it;
      continue;
    }
    cudaEventDestroy(it->last_use);
    cudaFreeHost(it->memory);
    it = q.pinned.erase(it);
  }
}

// Under the mutex.
Status AcquirePinned(Queue& q, size_t bytes, void** memory) {
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
      *memory = fits->memory;
      return Ok();
    }
    q.pinned.reserve(q.pinned.size() + 1);
    PinnedBlock made{nullptr, bytes < 4096 ? 4096 : bytes, nullptr, false};
    cudaError_t error = cudaMallocHost(&made.memory, made.bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      FreeIdlePinned(q);
      error = cudaMallocHost(&made.memory, made.bytes);
    }
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return Error(Code::kOutOfMemory, "%zu bytes of pinned memory could not be had for a copy to or from the GPU",
                   bytes);
    }
    PRL_CUDA_CHECK(error);
    error = cudaEventCreateWithFlags(&made.last_use, kEventFlags);
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

// A cached block may be larger by a quarter, not more: the rest of it would be lost. Under the mutex.
bool TakeCached(Queue& q, size_t wanted, void** pointer, size_t* got) {
  const auto found = q.cache.lower_bound(wanted);
  if (found == q.cache.end() || found->first > wanted + wanted / 4) return false;
  *got = found->first;
  *pointer = found->second;
  q.cache.erase(found);
  q.use.cached -= (int64_t)*got;
  return true;
}

// Memory that CUDA has not yet given. Under pressure the cache goes back to it first. Takes the mutex.
Status FreshMemory(size_t wanted, size_t asked, void** pointer) {
  cudaError_t error = cudaMalloc(pointer, wanted);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    int64_t given_back = 0;
    PRL_RETURN_IF_ERROR(CudaEmptyCache(&given_back));
    error = cudaMalloc(pointer, wanted);
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    return Error(Code::kOutOfMemory,
                 "%.1f MiB of GPU memory were asked for, but %.1f of %.1f MiB are free (this process uses %.1f MiB)",
                 (double)asked / 1048576, (double)free_bytes / 1048576, (double)total / 1048576,
                 (double)CudaMemory(false).in_use / 1048576);
  }
  PRL_CUDA_CHECK(error);
  return Ok();
}

// Under the mutex.
void Enter(Queue& q, void* pointer, LiveBlock block) {
  q.live.emplace(pointer, block);
  q.use.in_use += (int64_t)block.bytes;
  if (q.use.in_use > q.use.peak) q.use.peak = q.use.in_use;
}

}  // namespace

Status CudaAllocate(size_t bytes, void** pointer) {
  PRL_RETURN_IF_ERROR(CudaUse());
  Queue& q = TheQueue();
  size_t got = RoundUp(q, bytes);
  std::unique_lock<std::mutex> lock(q.mutex);
  if (!TakeCached(q, got, pointer, &got)) {
    lock.unlock();
    PRL_RETURN_IF_ERROR(FreshMemory(got, bytes, pointer));
    lock.lock();
  }
  Enter(q, *pointer, {got, false});
  return Ok();
}

void CudaRelease(void* pointer) {
  Queue& q = TheQueue();
  std::unique_lock<std::mutex> lock(q.mutex);
  const auto found = q.live.find(pointer);
  if (found == q.live.end()) return;
  const LiveBlock block = found->second;
  q.live.erase(found);
  q.use.in_use -= (int64_t)block.bytes;
  if (q.caching && !block.exported) {
    q.use.cached += (int64_t)block.bytes;
    q.cache.emplace(block.bytes, pointer);
    return;
  }
  lock.unlock();
  cudaFree(pointer);  // waits for what uses it
}

Status CudaEmptyCache(int64_t* bytes) {
  *bytes = 0;
  Queue& q = TheQueue();
  if (!q.open) return Ok();
  PRL_RETURN_IF_ERROR(CudaUse());
  const std::lock_guard<std::mutex> one_at_a_time(q.emptying);  // who runs out of memory waits for what comes back
  decltype(q.cache) cache;
  {
    const std::lock_guard<std::mutex> lock(q.mutex);
    cache.swap(q.cache);
    q.use.cached = 0;
    FreeIdlePinned(q);
  }
  if (cache.empty()) return Ok();
  CudaMark mark;
  Status status = CudaMarkNow(&mark);
  if (status.ok()) status = CudaWaitFor(mark);  // what is queued may still use the blocks
  for (const auto& [size, pointer] : cache) {
    if (cudaFree(pointer) == cudaSuccess) *bytes += (int64_t)size;
  }
  cudaGetLastError();
  return status;
}

// CUDA shares whole units of its own, of 2 MiB: what lies beside a smaller block would be seen with it
// (cudaIpcGetMemHandle). So memory that is shared fills its units alone, and the rest of them is cleared.
Status CudaIsolate(void** pointer, size_t bytes, bool may_move) {
  constexpr size_t kUnit = size_t{2} << 20;
  Queue& q = TheQueue();
  void* const old = *pointer;
  size_t size = 0;
  {
    const std::lock_guard<std::mutex> lock(q.mutex);
    LiveBlock& block = q.live.at(old);
    if (block.exported) return Ok();
    size = block.bytes;
    if (size % kUnit == 0) block.exported = true;
  }
  if (size % kUnit != 0) {
    if (!may_move) {
      return Error(Code::kUnsupported,
                   "the address of this tensor is known (devicePointer), so it cannot move to memory that shows no "
                   "other tensor: export it first, or give it a multiple of 2 MiB");
    }
    size = ((bytes ? bytes : 1) + kUnit - 1) / kUnit * kUnit;
    void* alone = nullptr;
    PRL_RETURN_IF_ERROR(FreshMemory(size, bytes, &alone));
    {
      const std::lock_guard<std::mutex> lock(q.mutex);
      Enter(q, alone, {size, true});
    }
    const Status copied = CudaCopy(alone, old, bytes);
    CudaRelease(copied.ok() ? old : alone);
    PRL_RETURN_IF_ERROR(copied);
    *pointer = alone;
  }
  PRL_RETURN_IF_ERROR(CudaFill(static_cast<char*>(*pointer) + bytes, 0, size - bytes));
  CudaMark mark;
  PRL_RETURN_IF_ERROR(CudaMarkNow(&mark));
  return CudaWaitFor(mark);
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
  // In pieces, so that copying into pinned memory and copying to the GPU overlap and pinned memory stays bounded: at
  // most two large pieces are under way. The wait for the earlier one holds no lock.
  constexpr size_t kPiece = size_t{32} << 20;
  CudaMark under_way[2];
  for (size_t done = 0, i = 0; done < bytes; done += kPiece, ++i) {
    const size_t n = bytes - done < kPiece ? bytes - done : kPiece;
    CudaMark& place = under_way[i % 2];
    if (place) PRL_RETURN_IF_ERROR(CudaWaitFor(place));
    void* staging = nullptr;
    {
      const std::lock_guard<std::mutex> lock(q.mutex);
      PRL_RETURN_IF_ERROR(AcquirePinned(q, n, &staging));
    }
    memcpy(staging, static_cast<const char*>(from) + done, n);
    {
      const std::lock_guard<std::mutex> lock(q.mutex);
      const cudaError_t error =
          cudaMemcpyAsync(static_cast<char*>(to) + done, staging, n, cudaMemcpyHostToDevice, q.stream);
      ReleasePinned(q, staging);
      PRL_CUDA_CHECK(error);
    }
    if (bytes > 2 * kPiece) PRL_RETURN_IF_ERROR(CudaMarkNow(&place));
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
    PRL_RETURN_IF_ERROR(AcquirePinned(q, bytes, &made->staging));
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
  if (bytes == 0) return Ok();
  PRL_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, TheQueue().stream));
  return Ok();
}

Status CudaFill(void* to, int byte, size_t bytes) {
  PRL_RETURN_IF_ERROR(CudaUse());
  if (bytes) PRL_CUDA_CHECK(cudaMemsetAsync(to, byte, bytes, TheQueue().stream));
  return Ok();
}

}  // namespace prl
