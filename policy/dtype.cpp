#include "policy/dtype.h"

#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"

namespace keel::policy {
namespace {

constexpr std::array<std::pair<const char*, at::ScalarType>, 3> kDtypeNames = {
    {{"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}}};

at::ScalarType dtype_named(const std::string& name) {
  for (const auto& [known, type] : kDtypeNames)
    if (name == known) return type;
  throw core::UsageError(fmt::format("weights are kept as float32, bfloat16 or float16, got {}", name));
}

}  // namespace

at::ScalarType common_dtype(const runtime::Parameters& weights) {
  const auto type_of = [](const runtime::NamedTensor& one) { return one.tensor.scalar_type(); };
  const bool alike = !weights.empty() &&
                     std::all_of(weights.begin(), weights.end(), [&](const auto& one) { return type_of(one) == type_of(weights.front()); });
  return alike ? type_of(weights.front()) : at::kFloat;
}

std::string dtype_name(at::ScalarType type) {
  for (const auto& [name, known] : kDtypeNames)
    if (type == known) return name;
  TORCH_CHECK(false, "[policy.dtype_name] weights are kept as float32, bfloat16 or float16, got ", type);
}

void cast_weights(Llama& model, const std::string& name, const std::filesystem::path& origin) {
  const at::ScalarType type = name == "keep" ? common_dtype(parameters(model)) : dtype_named(name);
  visit_weights(model, [&](const std::string& weight, at::Tensor& tensor) {
    if (tensor.scalar_type() == type) return;
    tensor = tensor.to(type);
    if (!at::isfinite(tensor).all().item<bool>())
      throw core::DataError(origin, 0,
                            fmt::format("{} holds numbers that {} does not reach; take bfloat16 or float32", weight, dtype_name(type)));
  });
}

}  // namespace keel::policy
