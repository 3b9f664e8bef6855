#include "runtime/buffer.h"

namespace prl {

int64_t& BufferBytes() {
  static thread_local int64_t bytes = 0;
  return bytes;
}

}  // namespace prl
