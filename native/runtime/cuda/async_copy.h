// Copies that run beside the thread that asked for them (cp.async, compute capability 8.0 on).
#pragma once

#include "runtime/cuda/device_code.h"

namespace prl {

// The three instructions. Code for a lower target copies at once. The emulator plays any target, and copies at the
// wait.
#if defined(PRL_CUDA_EMULATOR)
#define PRL_COPIES_LATER (prl_emulator::Target() >= 80)
#define PRL_COPY_16(to, from) __pipeline_memcpy_async(to, from, 16)
#define PRL_COMMIT_COPIES() __pipeline_commit()
#define PRL_WAIT_COPIES(later) __pipeline_wait_prior(later)
#elif __CUDA_ARCH__ >= 800
#define PRL_COPIES_LATER true
#define PRL_COPY_16(to, from)                                                                                       \
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(to)), "l"(from) \
               : "memory")
#define PRL_COMMIT_COPIES() asm volatile("cp.async.commit_group;" ::: "memory")
#define PRL_WAIT_COPIES(later) asm volatile("cp.async.wait_group %0;" ::"n"(later) : "memory")
#else
#define PRL_COPIES_LATER false
#define PRL_COPY_16(to, from)
#define PRL_COMMIT_COPIES()
#define PRL_WAIT_COPIES(later)
#endif

// Global to shared memory without a register; seen by the thread that asked, after WaitCopies. At most kLater later
// groups (what was asked for between two CloseCopies) may still be under way.
template <typename T>
__device__ inline void AskForCopy(Pack<T>* to, const Pack<T>* from) {
  if (PRL_COPIES_LATER) {
    PRL_COPY_16(to, from);
  } else {
    *to = LoadStreaming(from);
  }
}
__device__ inline void CloseCopies() {
  if (PRL_COPIES_LATER) {
    PRL_COMMIT_COPIES();
  }
}
template <int kLater>
__device__ inline void WaitCopies() {
  if (PRL_COPIES_LATER) {
    PRL_WAIT_COPIES(kLater);
  }
}

#undef PRL_COPIES_LATER
#undef PRL_COPY_16
#undef PRL_COMMIT_COPIES
#undef PRL_WAIT_COPIES

}  // namespace prl
