#include "engine/kernels.h"

#include <atomic>
#include <cstdlib>
#include <string_view>

namespace keel::engine {
namespace {

std::atomic<Arithmetic> wanted = Arithmetic::fp32;

const Kernels& fp32_kernels() {
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

}  // namespace

const Kernels& kernels() {
#ifdef __x86_64__
  if (wanted == Arithmetic::bf16) return avx512_bf16_kernels();
#endif
  return fp32_kernels();
}

bool set_arithmetic(Arithmetic arithmetic) {
#ifdef __x86_64__
  const bool can = &fp32_kernels() == &avx512_kernels() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
#else
  const bool can = false;
#endif
  if (arithmetic == Arithmetic::bf16 && !can) return false;
  wanted = arithmetic;
  return true;
}

}  // namespace keel::engine
