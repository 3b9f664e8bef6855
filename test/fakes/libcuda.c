// Stands in for the NVIDIA driver's library: it runs CUDA up to FAKE_CUDA (12040: 12.4) and has no GPU.
// scripts/check-driver.mjs compiles it as libcuda.so.1. CUDA's runtime asks for every function by name.
#include <stdlib.h>
#include <string.h>

enum { kSuccess = 0, kNoDevice = 100 };

int cuDriverGetVersion(int *version) {
  const char *text = getenv("FAKE_CUDA");
  *version = text ? atoi(text) : 0;
  return kSuccess;
}

int cuInit(unsigned flags) {
  (void)flags;
  return kNoDevice;
}

static int NoDevice(void) { return kNoDevice; }

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags, int *status) {
  (void)version, (void)flags;
  if (!strcmp(name, "cuDriverGetVersion")) *function = (void *)cuDriverGetVersion;
  else if (!strcmp(name, "cuInit")) *function = (void *)cuInit;
  else if (!strcmp(name, "cuGetProcAddress")) *function = (void *)cuGetProcAddress_v2;
  else *function = (void *)NoDevice;
  if (status) *status = 0;
  return kSuccess;
}

int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
