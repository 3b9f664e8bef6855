#include "runtime/buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace prl {
namespace {

// A block that the C library maps on its own: other blocks do not share its pages.
[[maybe_unused]] constexpr size_t kHugeBlock = size_t{64} << 20, kPage = 4096;

}  // namespace

int64_t& BufferBytes() {
  static thread_local int64_t bytes = 0;
  return bytes;
}

void AskForHugePages([[maybe_unused]] void* block, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  if (!block || bytes < kHugeBlock) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(block) + bytes) / kPage * kPage;
  (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: none is no failure
#endif
}

}  // namespace prl
