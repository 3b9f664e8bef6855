// Stands in for device.cu where CUDA was not compiled.
#include <cstdio>

#include "runtime/cuda/device.h"

#if !defined(PRL_WITH_CUDA)
namespace prl {

bool CudaCompiled() { return false; }

void CudaDeviceCount(int32_t* count, char reason[128]) {
  *count = 0;
  snprintf(reason, 128, "this build of the addon has no CUDA (nvcc was not found when it was compiled)");
}

Status CudaDeviceInfo(int32_t, CudaDevice*) { return Error(Code::kUnsupported, "this build of the addon has no CUDA"); }

}  // namespace prl
#endif
