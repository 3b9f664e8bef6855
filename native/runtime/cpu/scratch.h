// Reusable scratch memory of the calling thread, one buffer per slot: grows, is never cleared, goes with the thread.
// A slot belongs to one function: whoever calls that function must not hold the same slot.
#pragma once

#include <cstdint>

namespace prl {

enum ScratchSlot { kScratchGemmA, kScratchGemmB, kScratchAttention, kScratchRows, kScratchSampling, kScratchSlots };

// 64-byte aligned. Throws std::bad_alloc.
float* ThreadScratch(ScratchSlot slot, int64_t floats);

}  // namespace prl
