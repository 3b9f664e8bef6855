#include "runtime/cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace prl {
namespace {

Isa Detect() {
  Isa best = Isa::kGeneric;
#if defined(PRL_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    best = Isa::kAvx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      best = Isa::kAvx512;
    }
  }
#endif
  const char* asked = std::getenv("PRL_ISA");
  if (asked && std::strcmp(asked, "generic") == 0) return Isa::kGeneric;
  if (asked && std::strcmp(asked, "avx2") == 0 && best > Isa::kAvx2) return Isa::kAvx2;
  return best;
}

}  // namespace

Isa CpuIsa() {
  static const Isa isa = Detect();
  return isa;
}

const char* CpuIsaName() {
  switch (CpuIsa()) {
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx2: return "avx2";
    default: return "generic";
  }
}

}  // namespace prl
