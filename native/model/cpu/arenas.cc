#include "model/cpu/arenas.h"

#include <atomic>
#include <cmath>
#include <cstring>

#include "model/layers/adamw/adamw.h"
#include "model/tensor_file.h"
#include "runtime/cpu/convert.h"
#include "runtime/cpu/thread_pool.h"

namespace prl {
namespace {

constexpr int64_t kGrain = 16384;

// Optimizer state with a number that no step leaves would make every step after it one that is not applied.
Status CheckState(Arena arena, int64_t n, const float* values) {
  std::atomic<bool> legal{true};
  ParallelRows(n, kGrain, [&](int64_t begin, int64_t end) {
    bool good = true;
    for (int64_t i = begin; i < end; ++i)
      good = good && std::isfinite(values[i]) && (arena != Arena::kMoment2 || values[i] >= 0.0f);
    if (!good) legal = false;
  });
  if (legal) return Ok();
  return Error(Code::kCorrupt, "it holds a number that is not finite%s",
               arena == Arena::kMoment2 ? ", or negative" : "");
}

template <typename T>
void Copy(T* to, const T* from, int64_t n) {
  ParallelRows(n, 1 << 18, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(T));
  });
}

}  // namespace

CpuArenas::CpuArenas(const Layout& layout, DType dtype) : layout_(layout), dtype_(dtype) {
  values_.Zeros(narrow() ? layout.vectors : layout.size);
  if (narrow()) bf16_.Zeros(layout.size);
}

CpuArenas::Bytes CpuArenas::BytesOf(const Layout& layout, DType dtype) {
  const bool narrow = dtype == DType::kBFloat16;
  const int64_t floats = layout.size * static_cast<int64_t>(sizeof(float)), halves = floats / 2;
  return {narrow ? halves : floats, narrow ? layout.vectors * static_cast<int64_t>(sizeof(float)) : 0, floats,
          2 * floats + (narrow ? halves : 0)};
}

Weights CpuArenas::weights() const {
  if (narrow()) return {values_.data(), nullptr, bf16_.data()};
  return {values_.data(), values_.data(), nullptr};
}

// Null for what is not stored in float32.
float* CpuArenas::Floats(Arena arena) {
  switch (arena) {
    case Arena::kValues: return narrow() ? nullptr : values_.data();
    case Arena::kGradients: return gradients_.data();
    case Arena::kMoment1: return moment1_.data();
    case Arena::kMoment2: return moment2_.data();
    case Arena::kMaster: break;
  }
  return nullptr;
}

bool CpuArenas::Has(Arena arena) const {
  switch (arena) {
    case Arena::kValues: return true;
    case Arena::kGradients: return gradients_.data();
    case Arena::kMoment1:
    case Arena::kMoment2: return moment2_.data();
    case Arena::kMaster: return low_.data();
  }
  return false;
}

void CpuArenas::MakeOptimizer() {
  if (narrow() && !low_.data()) low_.Zeros(layout_.size);
  if (!moment2_.data()) {
    moment1_.Zeros(layout_.size);
    moment2_.Zeros(layout_.size);
  }
}

void CpuArenas::DropMoments() {
  moment1_.Free();
  moment2_.Free();
}

// Keeps the float32 copies of vectors.
void CpuArenas::Changed(int64_t first, int64_t n) {
  if (narrow() && first < layout_.vectors)
    ConvertCpu(n, DType::kBFloat16, bf16_.data() + first, DType::kFloat32, values_.data() + first);
}

void CpuArenas::Read(Arena arena, int64_t first, int64_t n, DType type, void* out) const {
  const float* from = const_cast<CpuArenas*>(this)->Floats(arena);
  const auto width = static_cast<int64_t>(SizeOf(type));
  ParallelRows(n, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = first + begin;
    void* to = static_cast<char*>(out) + begin * width;
    if (from) {
      ConvertCpu(end - begin, DType::kFloat32, from + at, type, to);
    } else if (arena == Arena::kValues) {
      ConvertCpu(end - begin, DType::kBFloat16, bf16_.data() + at, type, to);
    } else {
      for (int64_t i = begin; i < end; ++i)
        static_cast<float*>(out)[i] = MasterOf(bf16_.data()[first + i].bits, low_.data()[first + i]);
    }
  });
}

void CpuArenas::Write(Arena arena, int64_t first, int64_t n, const float* values) {
  if (arena != Arena::kValues) MakeOptimizer();
  float* to = Floats(arena);
  ParallelRows(n, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t at = first + begin, count = end - begin;
    if (to) {
      std::memcpy(to + at, values + begin, static_cast<size_t>(count) * sizeof(float));
    } else if (arena == Arena::kValues) {
      ConvertCpu(count, DType::kFloat32, values + begin, DType::kBFloat16, bf16_.data() + at);
      if (low_.data()) std::memset(low_.data() + at, 0, static_cast<size_t>(count) * sizeof(uint16_t));
    } else {
      for (int64_t i = 0; i < count; ++i)
        SplitMaster(values[begin + i], &bf16_.data()[at + i].bits, low_.data() + at + i);
    }
  });
  if (arena == Arena::kValues || arena == Arena::kMaster) Changed(first, n);
}

Status CpuArenas::Load(Arena arena, int64_t first, int64_t n, int fd, int64_t offset, DType type) {
  if (arena == Arena::kMaster) {
    Buffer<float> values;
    PRL_RETURN_IF_ERROR(ReadValues(fd, offset, type, n, DType::kFloat32, values.Reserve(n)));
    PRL_RETURN_IF_ERROR(CheckState(arena, n, values.data()));
    Write(arena, first, n, values.data());
    return Ok();
  }
  if (arena != Arena::kValues) {
    MakeOptimizer();
    float* moment = Floats(arena) + first;
    PRL_RETURN_IF_ERROR(ReadValues(fd, offset, type, n, DType::kFloat32, moment));
    return CheckState(arena, n, moment);
  }
  void* to = narrow() ? static_cast<void*>(bf16_.data() + first) : values_.data() + first;
  PRL_RETURN_IF_ERROR(ReadValues(fd, offset, type, n, dtype_, to));
  if (low_.data()) std::memset(low_.data() + first, 0, static_cast<size_t>(n) * sizeof(uint16_t));
  Changed(first, n);
  return Ok();
}

void CpuArenas::CopyValues(const CpuArenas& from) {
  Copy(values_.data(), from.values_.data(), narrow() ? layout_.vectors : layout_.size);
  if (narrow()) Copy(bf16_.data(), from.bf16_.data(), layout_.size);
}

void CpuArenas::ClearGradients() {
  float* gradients = gradients_.Reserve(layout_.size);
  ParallelRows(layout_.size, 1 << 18, [&](int64_t begin, int64_t end) {
    std::memset(gradients + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
  });
}

double CpuArenas::SumSquares() {
  return SumSquaresCpu(layout_.size, gradients_.data(), partial_.Reserve(SumSquaresPieces(layout_.size)));
}

bool CpuArenas::Step(const AdamWStep& matrices, const AdamWStep& vectors) {
  MakeOptimizer();
  for (const Parameter& p : layout_.parameters) {
    const float *parameter = narrow() ? nullptr : values_.data() + p.offset, *gradient = gradients_.data() + p.offset;
    const float *m = moment1_.data() + p.offset, *v = moment2_.data() + p.offset;
    const BFloat16* high = narrow() ? bf16_.data() + p.offset : nullptr;
    const uint16_t* low = narrow() ? low_.data() + p.offset : nullptr;
    const AdamWStep& step = p.matrix() ? matrices : vectors;
    if (!AdamWStaysFiniteCpu(step, p.size, gradient, parameter, high, low, m, v)) return false;
  }
  for (const Parameter& p : layout_.parameters) {
    const float* gradient = gradients_.data() + p.offset;
    float *m = moment1_.data() + p.offset, *v = moment2_.data() + p.offset;
    const AdamWStep& step = p.matrix() ? matrices : vectors;
    if (narrow()) {
      AdamWBFloat16Cpu(step, p.size, gradient, bf16_.data() + p.offset, low_.data() + p.offset, m, v);
    } else {
      AdamWCpu(step, p.size, gradient, values_.data() + p.offset, m, v);
    }
    Changed(p.offset, p.size);
  }
  return true;
}

}  // namespace prl
