#include "runtime/cpu/isa.h"

#include <cstdlib>
#include <cstring>

namespace prl {
namespace {

Isa Asked() {
  const Isa best = BestCpuIsa();
  const char* asked = std::getenv("PRL_ISA");
  if (asked && std::strcmp(asked, "generic") == 0) return Isa::kGeneric;
  if (asked && std::strcmp(asked, "avx2") == 0 && best > Isa::kAvx2) return Isa::kAvx2;
  return best;
}

}  // namespace

Isa BestCpuIsa() {
#if defined(PRL_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      return Isa::kAvx512;
    }
    return Isa::kAvx2;
  }
#endif
  return Isa::kGeneric;
}

Isa CpuIsa() {
  static const Isa isa = Asked();
  return isa;
}

const char* CpuIsaName(Isa isa) {
  switch (isa) {
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx2: return "avx2";
    default: return "generic";
  }
}

}  // namespace prl
