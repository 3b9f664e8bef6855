#include "model/tensor_file.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "runtime/cpu/convert.h"
#include "runtime/cpu/scratch.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

constexpr int64_t kPiece = 1 << 20;  // values read at a time

// 0, an errno, or -1 where the file ends too early.
int ReadAll(int fd, char* into, int64_t bytes, int64_t offset) {
  while (bytes > 0) {
    const ssize_t n = pread(fd, into, static_cast<size_t>(bytes), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    if (n == 0) return -1;
    into += n;
    offset += n;
    bytes -= n;
  }
  return 0;
}

}  // namespace

Status ReadValues(int fd, int64_t offset, DType from_type, int64_t n, DType to_type, void* to) {
  const int64_t width = static_cast<int64_t>(SizeOf(from_type));
  std::atomic<int> failure{0};
  ParallelRows(n, kPiece, [&](int64_t begin, int64_t end) {
    char* into = static_cast<char*>(to) + begin * static_cast<int64_t>(SizeOf(to_type));
    const bool direct = from_type == to_type;
    char* piece = direct ? into : reinterpret_cast<char*>(ThreadScratch(kScratchRows, kPiece));
    const int failed = ReadAll(fd, piece, (end - begin) * width, offset + begin * width);
    if (failed) failure = failed;
    if (!direct && !failed) ConvertCpu(end - begin, from_type, piece, to_type, into);
  });
  if (failure == -1) return Error(Code::kCorrupt, "it ends too early");
  if (failure != 0) return Error(Code::kIo, "%s", std::strerror(failure));
  return Ok();
}

}  // namespace prl
