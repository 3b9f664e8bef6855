// The numbers of arithmetic that is shared between skeletons: templates over N, which is double on the GPU and where
// tokens come one by one, and in files compiled per instruction set also a vector of doubles. A vector's comparison is
// a vector too, so that `c ? a : b` chooses lane by lane; a double beside a vector stands for all lanes. Nothing there
// may rely on a branch not being taken.
#pragma once

#include <cmath>

#include "runtime/hd.h"
#if defined(PRL_ISA)
#include "runtime/cpu/simd.h"
#endif

namespace prl {

// What a comparison of two N is: bool, or lanes.
template <typename N>
using MaskOf = decltype(N() < N());

PRL_HD double Exp(double x) { return exp(x); }
PRL_HD double Expm1(double x) { return expm1(x); }
PRL_HD double Tanh(double x) { return tanh(x); }
PRL_HD double Log(double x) { return log(x); }
#if defined(PRL_ISA)
using PRL_ISA::Exp;
using PRL_ISA::Expm1;
using PRL_ISA::Log;
using PRL_ISA::Tanh;
#endif

template <typename N>
PRL_HD MaskOf<N> IsFinite(N x) {
  return x - x == 0.0;
}
// Whether it is finite as a float: below half a step beyond the largest of them.
template <typename N>
PRL_HD MaskOf<N> IsFiniteFloat(N x) {
  return x > -0x1.ffffffp127 && x < 0x1.ffffffp127;
}

}  // namespace prl
