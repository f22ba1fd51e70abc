// The files of torch.save since PyTorch 1.6: a zip archive with a pickle that names tensors, and their storages as plain bytes.
//
// A pickle is a program. This reader is a machine for the few instructions that a dictionary of tensors takes: it builds dictionaries,
// tuples, numbers and texts, and knows five globals by name (OrderedDict, _rebuild_tensor_v2 and three kinds of storages). Nothing is ever
// imported or called; everything else is refused by name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"

namespace keel::core {

struct TorchTensor {
  std::string name;
  std::string dtype;  // "F32", "BF16" or "F16", as in safetensors
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;   // in elements, not negative
  uint64_t begin = 0, bytes = 0;  // range inside the file, from the first element to behind the last
};

// A validated file, memory-mapped: the tensors of the dictionary {name: tensor} that was saved, in its order. DataError naming the file for
// anything else: other values, other types, tensors larger than their storage or reaching out of it, views that make more than twice the
// file's bytes, big-endian bytes, files from before PyTorch 1.6, TorchScript, broken archives, and a pickle over 4 MiB (that of the largest
// Llama has 0.2).
class TorchFile {
 public:
  explicit TorchFile(const std::filesystem::path& path);
  const std::vector<TorchTensor>& tensors() const { return tensors_; }
  std::string_view bytes(const TorchTensor& tensor) const;  // valid while this object lives
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::vector<TorchTensor> tensors_;
};

}  // namespace keel::core
