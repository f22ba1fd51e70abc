#include "policy/arithmetic.h"

#include <fmt/format.h>

#include "core/error.h"
#include "engine/kernels.h"
#include "runtime/device.h"

namespace keel::policy {
namespace {

bool in_bf16 = false;

}  // namespace

void set_arithmetic(const std::string& name) {
  if (name != "fp32" && name != "bf16") throw core::UsageError(fmt::format("--precision must be fp32 or bf16, got \"{}\"", name));
  const bool bf16 = name == "bf16", here = runtime::compute_device().is_cpu();
  if (!engine::set_arithmetic(bf16 && here ? engine::Arithmetic::bf16 : engine::Arithmetic::fp32))
    throw core::UsageError(
        "--precision bf16: this processor has no products in bf16 (avx512_bf16), or ATEN_CPU_CAPABILITY excludes them; leave it out");
  in_bf16 = bf16;
}

std::string arithmetic() {
  return in_bf16 ? "bf16" : "fp32";
}

bool computes_in_bf16() {
  return in_bf16;
}

}  // namespace keel::policy
