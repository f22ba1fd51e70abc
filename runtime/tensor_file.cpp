#include "runtime/tensor_file.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/safetensors.h"

namespace keel::runtime {
namespace {

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kDtypes = {{{"F32", at::kFloat},
                                                                                  {"BF16", at::kBFloat16},
                                                                                  {"F16", at::kHalf},
                                                                                  {"F64", at::kDouble},
                                                                                  {"I64", at::kLong},
                                                                                  {"I32", at::kInt},
                                                                                  {"I16", at::kShort},
                                                                                  {"I8", at::kChar},
                                                                                  {"U8", at::kByte},
                                                                                  {"BOOL", at::kBool}}};

std::string dtype_name(at::ScalarType type) {
  for (const auto& [name, scalar] : kDtypes)
    if (scalar == type) return std::string(name);
  TORCH_CHECK(false, "[runtime.save_tensors] no safetensors name for dtype ", type);
}

at::ScalarType dtype_of(const core::TensorEntry& entry, const std::string& path) {
  for (const auto& [name, scalar] : kDtypes)
    if (name == entry.dtype) return scalar;
  throw core::DataError(
      path, 0,
      fmt::format("tensor {} has dtype {}, which keel does not read; convert the file to F32, BF16 or F16", entry.name, entry.dtype));
}

}  // namespace

TensorFile load_tensors(const std::filesystem::path& path) {
  const core::SafetensorsFile file(path);
  TensorFile loaded{.tensors = {}, .metadata = file.metadata()};
  for (const auto& entry : file.entries()) {
    at::Tensor tensor = at::empty(entry.shape, dtype_of(entry, file.path()));
    const std::string_view bytes = file.bytes(entry);
    if (!bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
    loaded.tensors.emplace(entry.name, std::move(tensor));
  }
  return loaded;
}

std::string save_tensors(const std::filesystem::path& path, const Parameters& tensors, const std::map<std::string, std::string>& metadata,
                         std::optional<at::ScalarType> type) {
  std::vector<core::TensorEntry> entries;
  for (const auto& [name, tensor] : tensors)
    entries.push_back({.name = name, .dtype = dtype_name(type.value_or(tensor.scalar_type())), .shape = tensor.sizes().vec()});
  at::Tensor current;  // keeps the bytes of the entry being written alive
  return core::write_safetensors(
      path, std::move(entries),
      [&](size_t i) {
        const at::Tensor& tensor = tensors[i].tensor;
        current = tensor.detach().cpu().to(type.value_or(tensor.scalar_type())).contiguous();
        return std::string_view(static_cast<const char*>(current.const_data_ptr()), current.nbytes());
      },
      metadata);
}

}  // namespace keel::runtime
