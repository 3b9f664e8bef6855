// One element of an AdamW step (Loshchilov and Hutter, arXiv 1711.05101), in the order in which PyTorch computes it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/hd.h"

namespace prl {

struct AdamWStep {
  float gradient_scale;  // of global clipping
  float one_minus_beta1, beta2, one_minus_beta2, epsilon;
  float keep;        // 1 - learning rate * decay
  float step_size;   // learning rate / (1 - beta1^t)
  float correction;  // sqrt(1 - beta2^t)
};

PRL_HD void AdamWElement(const AdamWStep& s, float gradient, float* parameter, float* m, float* v) {
  const float g = gradient * s.gradient_scale;
  *m = *m + (g - *m) * s.one_minus_beta1;
  *v = *v * s.beta2 + g * g * s.one_minus_beta2;
  *parameter = *parameter * s.keep - s.step_size * (*m / (sqrtf(*v) / s.correction + s.epsilon));
}

PRL_HD uint32_t IsNotFinite(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (bits & 0x7fffffffu) >= 0x7f800000u;
}

// The master of a parameter in bfloat16, and back (adamw.h).
PRL_HD float MasterOf(uint16_t bf16, uint16_t low) {
  const uint32_t bits = ((uint32_t)bf16 << 16) + (uint32_t)(int32_t)(int16_t)low;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
PRL_HD void SplitMaster(float value, uint16_t* bf16, uint16_t* low) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  *bf16 = (uint16_t)((bits + 0x8000u) >> 16);
  *low = (uint16_t)bits;
}

}  // namespace prl
