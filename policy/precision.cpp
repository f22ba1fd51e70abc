#include "policy/precision.h"

#include <fmt/format.h>

#include "core/error.h"
#include "engine/kernels.h"
#include "runtime/device.h"

namespace keel::policy {

using engine::Arithmetic;

void set_precision(const std::string& name) {
  if (name != "fp32" && name != "bf16") throw core::UsageError(fmt::format("--precision must be fp32 or bf16, got \"{}\"", name));
  if (name == "bf16" && !runtime::compute_device().is_cpu())
    throw core::UsageError("--precision bf16 is for the CPU; with --device models compute in fp32, and their frozen matrices are bf16");
  if (!engine::set_arithmetic(name == "bf16" ? Arithmetic::bf16 : Arithmetic::fp32))
    throw core::UsageError(
        "--precision bf16: this processor has no products in bf16 (avx512_bf16), or ATEN_CPU_CAPABILITY excludes them; leave it out");
}

std::string precision() {
  return engine::kernels().products == Arithmetic::bf16 ? "bf16" : "fp32";
}

}  // namespace keel::policy
