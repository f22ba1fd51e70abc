// Tensors in safetensors files: the only format keel writes weights in.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "runtime/parameters.h"

namespace keel::runtime {

struct TensorFile {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

// All tensors of a file, copied into memory of their own, in the file's dtypes. DataError for a broken file or a dtype that LibTorch
// does not have.
TensorFile load_tensors(const std::filesystem::path& path);

// Writes atomically, in the order given; the values in their own dtype, or all in `type`, cast one tensor after the other. Returns the
// SHA-256 of the file.
std::string save_tensors(const std::filesystem::path& path, const Parameters& tensors, const std::map<std::string, std::string>& metadata,
                         std::optional<at::ScalarType> type = {});

}  // namespace keel::runtime
