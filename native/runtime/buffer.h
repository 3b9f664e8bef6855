// Memory that is reused from call to call: it grows and is never cleared.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace prl {

// What the calling thread has taken for buffers, less what it has given back. The difference over an operation is what the operation's
// owner has grown by: buffers are taken by the thread that runs it, not by the pool.
int64_t& BufferBytes();

template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { Free(); }

  // At least n elements on a 64-byte boundary. What was there is lost when it has to grow.
  T* Reserve(int64_t n) {
    if (n > size_) {
      Free();
      if (n > (int64_t{1} << 60) / static_cast<int64_t>(sizeof(T))) throw std::bad_alloc();  // the bytes would overflow
      const size_t bytes = (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
      if (!data_) throw std::bad_alloc();
      size_ = n;
      BufferBytes() += Bytes();
    }
    return data_;
  }
  void Free() {
    BufferBytes() -= Bytes();
    std::free(data_);
    data_ = nullptr;
    size_ = 0;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  int64_t Bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }

  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace prl
