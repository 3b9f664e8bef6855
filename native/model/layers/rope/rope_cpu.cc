#include "model/layers/rope/rope.h"

namespace prl {
namespace PRL_ISA {

void RopeCpu(const RopeArgs& args) {
  const int64_t half = args.head_dim / 2;
  const float direction = args.inverse ? -1.0f : 1.0f;
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* cosine = args.table + args.positions[r] * args.head_dim;
    const float* sine = cosine + half;
    for (int64_t h = 0; h < args.heads; ++h) {
      float* __restrict a = args.x + r * args.x_row + h * args.head_dim;
      float* __restrict b = a + half;
      for (int64_t i = 0; i < half; ++i) {
        const float c = cosine[i], s = direction * sine[i], x = a[i], y = b[i];
        a[i] = x * c - y * s;
        b[i] = y * c + x * s;
      }
    }
  }
}

}  // namespace PRL_ISA
}  // namespace prl
