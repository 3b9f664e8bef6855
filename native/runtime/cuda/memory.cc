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

}  // namespace

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
