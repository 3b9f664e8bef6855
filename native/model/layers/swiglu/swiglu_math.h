// The arithmetic of swiglu for one element, F a float or a vector of them; `sigmoid` = 1 / (1 + e^-gate).
#pragma once

#include "runtime/hd.h"

namespace prl {

template <typename F>
PRL_HD F SwiGlu(F gate, F up, F sigmoid) {
  return gate * sigmoid * up;
}

template <typename F>
struct SwiGluGradient {
  F gate, up;
};

template <typename F>
PRL_HD SwiGluGradient<F> SwiGluBackward(F gate, F up, F sigmoid, F d_out) {
  return {d_out * up * (sigmoid * (1.0f + gate * (1.0f - sigmoid))), d_out * (gate * sigmoid)};
}

}  // namespace prl
