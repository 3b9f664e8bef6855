// The parameters of a policy on the CPU: values, gradients, moments, masters, each an arena (model/parameters.h).
#pragma once

#include "model/layers/adamw/adamw_math.h"
#include "model/parameters.h"
#include "runtime/buffer.h"
#include "runtime/dtype.h"
#include "runtime/status.h"

namespace prl {

// The values as the stages read them.
struct Weights {
  const float* vectors;  // norms and biases, at their offsets
  const float* f32;      // the arena; null when it is
  const BFloat16* bf16;  // this one
};

// Ranges and failures as in model/network.h.
class CpuArenas {
 public:
  CpuArenas(const Layout& layout, DType dtype);

  Weights weights() const;
  float* gradients() { return gradients_.data(); }

  bool Has(Arena arena) const;
  void Read(Arena arena, int64_t first, int64_t n, DType type, void* out) const;
  void Write(Arena arena, int64_t first, int64_t n, const float* values);
  Status Load(Arena arena, int64_t first, int64_t n, int fd, int64_t offset, DType type);
  void CopyValues(const CpuArenas& from);
  void DropMoments();

  void ClearGradients();
  double SumSquares();
  bool Step(const AdamWStep& matrices, const AdamWStep& vectors);

  // Bytes of each arena.
  struct Bytes {
    int64_t values, vectors, gradients, optimizer;
  };
  static Bytes BytesOf(const Layout& layout, DType dtype);

 private:
  bool narrow() const { return dtype_ == DType::kBFloat16; }
  float* Floats(Arena arena);
  void MakeOptimizer();
  void Changed(int64_t first, int64_t n);

  const Layout& layout_;
  const DType dtype_;
  Buffer<float> values_;  // the arena; of bfloat16 values float32 copies of the vectors
  Buffer<BFloat16> bf16_;
  Buffer<uint16_t> low_;  // with bf16_ the masters (adamw.h); all 0 until the first step
  Buffer<float> gradients_, moment1_, moment2_;
  Buffer<double> partial_;
};

}  // namespace prl
