// What the CUDA runtime says of this machine. Works, and says "none", where there is no driver or no GPU.
#pragma once

#include <cstdint>

#include "runtime/status.h"

namespace prl {

struct CudaDevice {
  char name[256];
  int32_t major, minor;
  int64_t total_bytes, free_bytes;
};

// *count is 0 and `reason` says why where there is none. Compiled in both builds.
void CudaDeviceCount(int32_t* count, char reason[128]);
Status CudaDeviceInfo(int32_t index, CudaDevice* device);
bool CudaCompiled();

}  // namespace prl
