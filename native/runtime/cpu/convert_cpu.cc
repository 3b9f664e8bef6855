#include "runtime/cpu/convert.h"

#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {
namespace {

template <typename From, typename To>
void Convert(int64_t n, const From* from, To* to) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(to + i, Load(from + i));
  if (i < n) StorePartial(to + i, (int)(n - i), LoadPartial(from + i, (int)(n - i), 0.0f));
}

template <typename From>
void ConvertFrom(int64_t n, const From* from, DType type, void* to) {
  switch (type) {
    case DType::kFloat32: return Convert(n, from, (float*)to);
    case DType::kBFloat16: return Convert(n, from, (BFloat16*)to);
    case DType::kFloat16: return Convert(n, from, (Float16*)to);
    case DType::kInt32: return;
  }
}

}  // namespace

void ConvertCpu(int64_t n, DType from_type, const void* from, DType to_type, void* to) {
  if (from_type == to_type) {
    memcpy(to, from, (size_t)n * (from_type == DType::kFloat32 || from_type == DType::kInt32 ? 4 : 2));
    return;
  }
  switch (from_type) {
    case DType::kFloat32: return ConvertFrom(n, (const float*)from, to_type, to);
    case DType::kBFloat16: return ConvertFrom(n, (const BFloat16*)from, to_type, to);
    case DType::kFloat16: return ConvertFrom(n, (const Float16*)from, to_type, to);
    case DType::kInt32: return;
  }
}

}  // namespace PRL_ISA
}  // namespace prl
