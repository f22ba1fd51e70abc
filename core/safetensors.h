// The safetensors container: header, metadata and byte ranges. Reads and writes bytes; runtime/tensor_file.h reads and writes tensors.
//
// Layout: u64 little-endian header size, JSON header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {}}, data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/files.h"

namespace keel::core {

struct TensorEntry {
  std::string name;
  std::string dtype;  // "F32", "BF16", "F16", "F64", "I64", "I32", "U8", "BOOL" ...
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // byte range inside the data section
};

// A validated file, memory-mapped. Throws DataError when the header is longer than 100 MB or than the file, is not a JSON object or names a
// tensor twice; when dtype x shape (without overflow) is not end - begin; and when ranges overlap, leave holes or pass the end of the file.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::vector<TensorEntry>& entries() const { return entries_; }  // in file order
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::string_view bytes(const TensorEntry& entry) const;  // valid while this object lives
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::string_view data_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Writes a file atomically. Entries need name, dtype and shape; the ranges are laid out in the given order, `data(i)` gives the bytes
// of entry i and must match its size. Returns the SHA-256 of the file.
std::string write_safetensors(const std::filesystem::path& path, std::vector<TensorEntry> entries,
                              const std::function<std::string_view(size_t)>& data, const std::map<std::string, std::string>& metadata);

uint64_t dtype_bytes(std::string_view dtype);  // 0 for an unknown one

}  // namespace keel::core
