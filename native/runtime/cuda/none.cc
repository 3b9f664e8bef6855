// Stands in for device.cc, external.cc, memory.cc and queue.cc where CUDA was not compiled.
#include <cstdio>

#include "runtime/cuda/device.h"
#include "runtime/cuda/entry.h"
#include "runtime/cuda/queue.h"

// Why, from the build (scripts/build-native.mjs).
#ifndef PRL_NO_CUDA
#define PRL_NO_CUDA "nvcc was not found"
#endif

namespace prl {
namespace {
constexpr char kNoCuda[] = "this build of the addon has no CUDA (when it was compiled, " PRL_NO_CUDA ")";
}  // namespace
Status NoCuda() { return Error(Code::kUnsupported, "%s", kNoCuda); }
}  // namespace prl

#if !defined(PRL_WITH_CUDA)
namespace prl {

bool CudaCompiled() { return false; }

void CudaDeviceCount(int32_t* count, char reason[128]) {
  *count = 0;
  snprintf(reason, 128, "%s", kNoCuda);
}

void CudaVersions(int32_t* driver, int32_t* runtime) { *driver = *runtime = 0; }
Status CudaDeviceInfo(int32_t, CudaDevice*) { return NoCuda(); }
Status CudaFreeMemory(int32_t, int64_t*) { return NoCuda(); }
Status CudaChosenDevice(int32_t*) { return NoCuda(); }

CudaCall::~CudaCall() {}
Status CudaCall::Begin(size_t) { return NoCuda(); }
Status CudaCall::End(const char*, CudaDescribe, CudaTicketPtr*) { return NoCuda(); }
Status CudaUse() { return NoCuda(); }
Status CudaHealth() { return NoCuda(); }
int CudaDeviceIndex() { return 0; }
void* CudaStream() { return nullptr; }
Status CudaWait(const CudaTicketPtr&, const double**) { return NoCuda(); }
Status CudaMarkNow(CudaMark*) { return NoCuda(); }
Status CudaWaitFor(const CudaMark&) { return NoCuda(); }
Status CudaFailuresUntil(const CudaMark&) { return NoCuda(); }
Status CudaElapsed(const CudaMark&, const CudaMark&, float*) { return NoCuda(); }
Status CudaAllocate(size_t, void**) { return NoCuda(); }
void CudaRelease(void*) {}
CudaMemoryUse CudaMemory(bool) { return {0, 0, 0}; }
Status CudaEmptyCache(int64_t* bytes) {
  *bytes = 0;
  return Ok();
}
Status CudaIsolate(void**, size_t, bool) { return NoCuda(); }
Status CudaUpload(void*, const void*, size_t) { return NoCuda(); }
Status CudaBeginDownload(const void*, size_t, std::shared_ptr<CudaDownload>*) { return NoCuda(); }
Status CudaFinishDownload(const std::shared_ptr<CudaDownload>&, void*) { return NoCuda(); }
Status CudaCopy(void*, const void*, size_t) { return NoCuda(); }
Status CudaFill(void*, int, size_t) { return NoCuda(); }
Status CudaCheckPointer(const void*, size_t) { return NoCuda(); }
Status CudaExportIpc(void*, unsigned char*, int64_t*) { return NoCuda(); }
Status CudaImportIpc(const unsigned char*, size_t, size_t, void**) { return NoCuda(); }
void CudaCloseIpc(void*) {}

}  // namespace prl
#endif
