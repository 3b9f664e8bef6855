// Copies that run beside the thread that asked for them (cp.async, compute capability 8.0 on).
#pragma once

#include "runtime/cuda/device_code.h"

namespace prl {

// Global to shared memory without a register; seen by the thread that asked, after WaitCopies. At most kLater later
// groups (what was asked for between two CloseCopies) may still be under way.
template <typename T>
__device__ inline void AskForCopy(Pack<T>* to, const Pack<T>* from) {
#if !defined(PRL_CUDA_EMULATOR) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from)
               : "memory");
#else
  *to = LoadStreaming(from);
#endif
}
__device__ inline void CloseCopies() {
#if !defined(PRL_CUDA_EMULATOR) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kLater>
__device__ inline void WaitCopies() {
#if !defined(PRL_CUDA_EMULATOR) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kLater) : "memory");
#endif
}

}  // namespace prl
