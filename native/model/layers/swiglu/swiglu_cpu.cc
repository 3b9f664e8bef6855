#include "model/layers/swiglu/swiglu.h"

#include "model/layers/swiglu/swiglu_math.h"
#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {
namespace {

PRL_INLINE VF Sigmoid(VF x) { return 1.0f / (1.0f + Exp(-x)); }

}  // namespace

void SwiGluCpu(int64_t rows, int64_t width, const float* gate_up, float* out) {
  const int64_t whole = width - width % kLanes;
  const int rest = (int)(width - whole);
  for (int64_t r = 0; r < rows; ++r) {
    const float *gate = gate_up + r * 2 * width, *up = gate + width;
    float* o = out + r * width;
    for (int64_t i = 0; i < whole; i += kLanes) {
      const VF g = Load(gate + i);
      Store(o + i, SwiGlu(g, Load(up + i), Sigmoid(g)));
    }
    if (rest) {
      const VF g = LoadPartial(gate + whole, rest, 0.0f);
      StorePartial(o + whole, rest, SwiGlu(g, LoadPartial(up + whole, rest, 0.0f), Sigmoid(g)));
    }
  }
}

void SwiGluBackwardCpu(int64_t rows, int64_t width, float* gate_up, float* d_out) {
  const int64_t whole = width - width % kLanes;
  const int rest = (int)(width - whole);
  for (int64_t r = 0; r < rows; ++r) {
    float *gate = gate_up + r * 2 * width, *up = gate + width, *o = d_out + r * width;
    for (int64_t i = 0; i < whole; i += kLanes) {
      const VF g = Load(gate + i), u = Load(up + i), s = Sigmoid(g);
      const SwiGluGradient<VF> d = SwiGluBackward(g, u, s, Load(o + i));
      Store(o + i, SwiGlu(g, u, s));
      Store(gate + i, d.gate);
      Store(up + i, d.up);
    }
    if (rest) {
      const VF g = LoadPartial(gate + whole, rest, 0.0f), u = LoadPartial(up + whole, rest, 0.0f), s = Sigmoid(g);
      const SwiGluGradient<VF> d = SwiGluBackward(g, u, s, LoadPartial(o + whole, rest, 0.0f));
      StorePartial(o + whole, rest, SwiGlu(g, u, s));
      StorePartial(gate + whole, rest, d.gate);
      StorePartial(up + whole, rest, d.up);
    }
  }
}

}  // namespace PRL_ISA
}  // namespace prl
