#include "runtime/cpu/scratch.h"

#include <cstdlib>
#include <new>

namespace prl {
namespace {

struct Buffers {
  float* data[kScratchSlots] = {};
  int64_t floats[kScratchSlots] = {};
  ~Buffers() {
    for (float* p : data) std::free(p);
  }
};

}  // namespace

float* ThreadScratch(ScratchSlot slot, int64_t floats) {
  thread_local Buffers buffers;
  if (buffers.floats[slot] < floats) {
    std::free(buffers.data[slot]);
    buffers.data[slot] = nullptr;
    buffers.floats[slot] = 0;
    const int64_t rounded = (floats + floats / 4 + 1023) / 1024 * 1024;
    void* p = std::aligned_alloc(64, static_cast<size_t>(rounded) * sizeof(float));
    if (!p) throw std::bad_alloc();
    buffers.data[slot] = static_cast<float*>(p);
    buffers.floats[slot] = rounded;
  }
  return buffers.data[slot];
}

}  // namespace prl
