// Storage types. Arithmetic is float32 whatever the storage.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prl {

// The numbers cross the JavaScript boundary (lib/kernels/tensor.ts): add, never renumber.
enum class DType : int32_t { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2, kInt32 = 3 };
enum class Device : int32_t { kCpu = 0, kCuda = 1 };

inline size_t SizeOf(DType dtype) { return dtype == DType::kFloat32 || dtype == DType::kInt32 ? 4 : 2; }
inline const char* NameOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return "float32";
    case DType::kBFloat16: return "bfloat16";
    case DType::kFloat16: return "float16";
    case DType::kInt32: return "int32";
  }
  return "?";
}

// Distinct types for the 16-bit storages, so that templates and overloads tell them apart.
struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

}  // namespace prl
