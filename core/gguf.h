// The GGUF container (versions 2 and 3, little-endian): metadata and tensor byte ranges, and its block formats as fp32.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/files.h"

namespace keel::core {

using GgufValue =
    std::variant<bool, int64_t, uint64_t, double, std::string, std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;     // outermost first (reversed from the file), so a matrix is [rows, columns] as in PyTorch
  uint32_t type = 0;              // ggml type id: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 6 Q5_0, 7 Q5_1, 8 Q8_0, 12 Q4_K, 14 Q6_K, 30 BF16
  uint64_t begin = 0, bytes = 0;  // range inside the data section
};

// A validated file, memory-mapped. Throws DataError for a wrong magic or version, counts or lengths that pass the end of the file,
// unknown value types, tensors of unknown type, misaligned or overlapping ranges, elements that do not fill whole blocks.
class GgufFile {
 public:
  explicit GgufFile(const std::filesystem::path& path);
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const std::string& path() const { return path_; }

  // Metadata by key; DataError naming the key when it is missing or of another type. The two-argument forms give a default.
  int64_t integer(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t missing) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double missing) const;
  bool flag(const std::string& key, bool missing) const;
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& missing) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<int64_t>& integers(const std::string& key) const;
  const std::vector<double>& numbers(const std::string& key) const;
  bool has(const std::string& key) const { return metadata_.contains(key); }

  std::vector<float> dequantised(const GgufTensor& tensor) const;  // row-major, product of shape

 private:
  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::string_view data_;
  std::map<std::string, GgufValue> metadata_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace keel::core
