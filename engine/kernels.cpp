#include "engine/kernels.h"

#include <cstdlib>
#include <string_view>

namespace keel::engine {

const Kernels& kernels() {
  static const Kernels& best = []() -> const Kernels& {
    const char* asked = std::getenv("ATEN_CPU_CAPABILITY");
    const std::string_view level = asked == nullptr ? "" : asked;
#ifdef __x86_64__
    if (level == "default") return plain_kernels();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 =
        avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && level != "avx2") return avx512_kernels();
    if (avx2) return avx2_kernels();
#endif
    return plain_kernels();
  }();
  return best;
}

}  // namespace keel::engine
