// One source per CPU kernel, compiled once per instruction set into its own namespace, chosen at run time.
//
// A contract header declares a CPU entry with
//     PRL_CPU_ENTRY(Status, TokenLogprobCpu, (const TokenLogprobArgs& args), (args))
// which declares prl::generic::TokenLogprobCpu, prl::avx2::..., prl::avx512::... and defines prl::TokenLogprobCpu that
// calls the one for this machine. The _cpu.cc file defines it inside `namespace prl { namespace PRL_ISA { ... } }`.
//
// Files compiled per instruction set must emit no weak symbols (templates of the STL, inline functions that are not
// `static`), or the linker may keep the AVX-512 copy for everyone. scripts/check-symbols.mjs checks it.
#pragma once

namespace prl {

enum class Isa { kGeneric = 0, kAvx2 = 1, kAvx512 = 2 };

// The best of the compiled ones that this processor has; it has those below it too.
Isa BestCpuIsa();
// The one in use: the best, or a lesser one that PRL_ISA=generic|avx2|avx512 asks for.
Isa CpuIsa();
const char* CpuIsaName(Isa isa);

}  // namespace prl

// A file compiled per instruction set sees only the declarations: its calls stay within its own namespace.
// clang-format off
#if defined(PRL_X86) && defined(PRL_ISA)
#define PRL_CPU_ENTRY(result, name, parameters, arguments)  \
  namespace generic { result name parameters; }             \
  namespace avx2 { result name parameters; }                \
  namespace avx512 { result name parameters; }
#elif defined(PRL_ISA)
#define PRL_CPU_ENTRY(result, name, parameters, arguments)  \
  namespace generic { result name parameters; }
#elif defined(PRL_X86)
#define PRL_CPU_ENTRY(result, name, parameters, arguments)  \
  namespace generic { result name parameters; }             \
  namespace avx2 { result name parameters; }                \
  namespace avx512 { result name parameters; }              \
  static inline result name parameters {                    \
    switch (::prl::CpuIsa()) {                              \
      case ::prl::Isa::kAvx512: return avx512::name arguments; \
      case ::prl::Isa::kAvx2: return avx2::name arguments;  \
      default: return generic::name arguments;              \
    }                                                       \
  }
#else
#define PRL_CPU_ENTRY(result, name, parameters, arguments)  \
  namespace generic { result name parameters; }             \
  static inline result name parameters { return generic::name arguments; }
#endif
// clang-format on
