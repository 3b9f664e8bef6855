#include "model/layers/rms_norm/rms_norm.h"

#include "runtime/cpu/simd.h"

namespace prl {
namespace PRL_ISA {
namespace {

// sum of a * b * c, with c = 1 when null, in a fixed order.
float Dot(const float* a, const float* b, const float* c, int64_t n) {
  VF sum0{}, sum1{};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    VF x0 = Load(a + i) * Load(b + i), x1 = Load(a + i + kLanes) * Load(b + i + kLanes);
    sum0 += c ? x0 * Load(c + i) : x0;
    sum1 += c ? x1 * Load(c + i + kLanes) : x1;
  }
  for (; i < n; i += kLanes) {
    const int m = n - i < kLanes ? (int)(n - i) : kLanes;
    const VF x = LoadPartial(a + i, m, 0.0f) * LoadPartial(b + i, m, 0.0f);
    sum0 += c ? x * LoadPartial(c + i, m, 0.0f) : x;
  }
  return ReduceAdd(sum0 + sum1);
}

float InverseRms(const float* x, int64_t width, float eps) {
  return 1.0f / __builtin_sqrtf(Dot(x, x, nullptr, width) / (float)width + eps);
}

}  // namespace

void RmsNormCpu(const RmsNormArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* x = args.x + r * args.x_row;
    float* y = args.y + r * args.y_row;
    const float s = InverseRms(x, args.width, args.eps);
    for (int64_t i = 0; i < args.width; ++i) y[i] = x[i] * s * args.weight[i];
  }
}

void RmsNormBackwardCpu(const RmsNormBackwardArgs& args) {
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* x = args.x + r * args.x_row;
    const float* dy = args.dy + r * args.dy_row;
    const float* base = args.base ? args.base + r * args.base_row : nullptr;
    float* dx = args.dx + r * args.dx_row;
    const float s = InverseRms(x, args.width, args.eps);
    const float along = s * s * s * Dot(dy, args.weight, x, args.width) / (float)args.width;
    for (int64_t i = 0; i < args.width; ++i) args.d_weight[i] += dy[i] * x[i] * s;
    if (base) {
      for (int64_t i = 0; i < args.width; ++i) dx[i] = base[i] + (dy[i] * args.weight[i] * s - x[i] * along);
    } else {
      for (int64_t i = 0; i < args.width; ++i) dx[i] = dy[i] * args.weight[i] * s - x[i] * along;
    }
  }
}

}  // namespace PRL_ISA
}  // namespace prl
