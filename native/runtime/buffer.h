// Memory that is reused from call to call: it grows and is never cleared.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace prl {

// What the calling thread has taken for buffers, less what it has given back. The difference over an operation is what
// the operation's owner has grown by: buffers are taken by the thread that runs it, not by the pool.
int64_t& BufferBytes();

// Asks the system for huge pages, where they help: weights that are read once per token, caches that are made and freed
// by every generation.
void AskForHugePages(void* block, size_t bytes);

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
      block_ = std::aligned_alloc(64, (BytesOf(n) + 63) / 64 * 64);
      AskForHugePages(block_, BytesOf(n));
      Take(static_cast<T*>(block_), n);
    }
    return data_;
  }
  // n elements that are all zero bits. Large ones are pages that the system clears when they are first touched: this
  // takes no time.
  T* Zeros(int64_t n) {
    Free();
    block_ = std::calloc(BytesOf(n) + 64, 1);
    AskForHugePages(block_, BytesOf(n));
    Take(reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(block_) + 63) / 64 * 64), n);
    return data_;
  }
  void Free() {
    BufferBytes() -= Bytes();
    std::free(block_);
    block_ = nullptr;
    data_ = nullptr;
    size_ = 0;
  }
  T* data() { return data_; }
  const T* data() const { return data_; }

 private:
  int64_t Bytes() const { return size_ * static_cast<int64_t>(sizeof(T)); }
  static size_t BytesOf(int64_t n) {
    if (n > (int64_t{1} << 60) / static_cast<int64_t>(sizeof(T))) throw std::bad_alloc();  // the bytes would overflow
    return static_cast<size_t>(n) * sizeof(T);
  }
  void Take(T* data, int64_t n) {
    if (!block_) throw std::bad_alloc();
    data_ = data;
    size_ = n;
    BufferBytes() += Bytes();
  }

  void* block_ = nullptr;  // as the allocator gave it; data_ is its first boundary
  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace prl
