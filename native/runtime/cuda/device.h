// What the CUDA runtime says of this machine. Works, and says "none", where there is no driver or no GPU.
#pragma once

#include <cstdint>

#include "runtime/status.h"

namespace prl {

struct CudaDevice {
  char name[256];
  int32_t major, minor;
  int64_t total_bytes;
};

bool CudaCompiled();
// The versions of CUDA that the driver can run and that this build was made with, as 1000 * major + 10 * minor; 0:
// there is none.
void CudaVersions(int32_t* driver, int32_t* runtime);
// *count is 0 and `reason` says why where there is none. Compiled in both builds.
void CudaDeviceCount(int32_t* count, char reason[128]);
// Of any GPU: starts nothing on it, takes none of its memory.
Status CudaDeviceInfo(int32_t index, CudaDevice* device);
// Starts CUDA on the GPU, which takes some hundred MB of its memory. For the one that this process uses.
Status CudaFreeMemory(int32_t index, int64_t* bytes);
// The one that this process uses: PRL_DEVICE ("cpu", "cuda", "cuda:N") decides. Fails with the reason where it uses
// none. Starts nothing.
Status CudaChosenDevice(int32_t* index);

}  // namespace prl
