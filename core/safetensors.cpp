// The safetensors container, as its specification (huggingface/safetensors, README "Format") defines it.
#include "core/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/json.h"

namespace keel::core {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kLongestHeader = 100'000'000;  // the limit of the reference implementation

[[noreturn]] void bad_safetensors(const std::string& path, const std::string& text) {
  throw DataError(path, 0, text + "; the file is incomplete or damaged");
}

uint64_t little_endian_u64(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i)
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return value;
}

uint64_t non_negative(const nlohmann::json& value, const std::string& path, const std::string& what) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (!value.is_number_integer() || value.get<int64_t>() < 0) bad_safetensors(path, what + " must be non-negative integers");
  return static_cast<uint64_t>(value.get<int64_t>());
}

const nlohmann::json& array_member(const nlohmann::json& object, const char* key, const std::string& path, const std::string& name) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) bad_safetensors(path, fmt::format("tensor '{}' needs an array '{}'", name, key));
  return *found;
}

// dtype x shape in bytes. Zero dimensions count as one for the overflow test: the strides of such a tensor must fit as well.
uint64_t tensor_bytes(const std::string& dtype, const std::vector<int64_t>& shape, const std::string& path, const std::string& name) {
  uint64_t bytes = dtype_bytes(dtype);
  if (bytes == 0) bad_safetensors(path, fmt::format("tensor '{}' has the unknown dtype '{}'", name, dtype));
  bool empty = false;
  for (const int64_t size : shape) {
    empty |= size == 0;
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(std::max<int64_t>(size, 1)), &bytes) || bytes > INT64_MAX) {
      bad_safetensors(path, fmt::format("tensor '{}' has a shape of more bytes than any file holds", name));
    }
  }
  return empty ? 0 : bytes;
}

TensorEntry parse_entry(const std::string& name, const nlohmann::json& object, const std::string& path) {
  if (!object.is_object()) bad_safetensors(path, fmt::format("tensor '{}' must be a JSON object", name));
  TensorEntry entry{.name = name, .dtype = {}, .shape = {}};
  const auto dtype = object.find("dtype");
  if (dtype == object.end() || !dtype->is_string()) bad_safetensors(path, fmt::format("tensor '{}' needs a string 'dtype'", name));
  entry.dtype = dtype->get<std::string>();
  for (const auto& size : array_member(object, "shape", path, name)) {
    const uint64_t value = non_negative(size, path, fmt::format("the sizes of tensor '{}'", name));
    if (value > INT64_MAX) bad_safetensors(path, fmt::format("tensor '{}' has a shape of more bytes than any file holds", name));
    entry.shape.push_back(static_cast<int64_t>(value));
  }
  const auto& offsets = array_member(object, "data_offsets", path, name);
  if (offsets.size() != 2) bad_safetensors(path, fmt::format("tensor '{}' needs two data_offsets, got {}", name, offsets.size()));
  entry.begin = non_negative(offsets[0], path, fmt::format("data_offsets of tensor '{}'", name));
  entry.end = non_negative(offsets[1], path, fmt::format("data_offsets of tensor '{}'", name));
  const uint64_t expected = tensor_bytes(entry.dtype, entry.shape, path, name);
  if (entry.begin > entry.end || entry.end - entry.begin != expected) {
    bad_safetensors(path, fmt::format("tensor '{}' ({} [{}]) takes {} bytes, but its data_offsets are [{}, {}]", name, entry.dtype,
                                      fmt::join(entry.shape, ", "), expected, entry.begin, entry.end));
  }
  return entry;
}

// Ranges must follow each other without gaps from the first to the last byte: gaps could hide other content.
void check_coverage(const std::vector<TensorEntry>& entries, uint64_t data_bytes, const std::string& path) {
  uint64_t reached = 0;
  for (const TensorEntry& entry : entries) {
    if (entry.begin != reached) {
      bad_safetensors(path, fmt::format("tensor '{}' must begin at byte {} of the data, after the one before it, but begins at {}",
                                        entry.name, reached, entry.begin));
    }
    reached = entry.end;
  }
  if (reached != data_bytes)
    bad_safetensors(path, fmt::format("the header describes {} bytes of data, the file holds {}", reached, data_bytes));
}

}  // namespace

uint64_t dtype_bytes(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, uint64_t>, 16> kSizes = {{{"BOOL", 1},
                                                                                    {"U8", 1},
                                                                                    {"I8", 1},
                                                                                    {"F8_E5M2", 1},
                                                                                    {"F8_E4M3", 1},
                                                                                    {"U16", 2},
                                                                                    {"I16", 2},
                                                                                    {"F16", 2},
                                                                                    {"BF16", 2},
                                                                                    {"U32", 4},
                                                                                    {"I32", 4},
                                                                                    {"F32", 4},
                                                                                    {"U64", 8},
                                                                                    {"I64", 8},
                                                                                    {"F64", 8},
                                                                                    {"C64", 8}}};
  for (const auto& [name, bytes] : kSizes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path.string()), file_(std::make_unique<MappedFile>(path)) {
  const std::string_view bytes = file_->bytes();
  refuse_other_file(bytes, path_, WholeFile::safetensors);
  if (bytes.size() < kLengthBytes) bad_safetensors(path_, fmt::format("a safetensors file has at least 8 bytes, got {}", bytes.size()));
  const uint64_t length = little_endian_u64(bytes);
  if (length > kLongestHeader) bad_safetensors(path_, fmt::format("the header must be at most {} bytes, says {}", kLongestHeader, length));
  if (length > bytes.size() - kLengthBytes) {
    bad_safetensors(path_, fmt::format("the header should be {} bytes, but the file ends after {}", length, bytes.size() - kLengthBytes));
  }
  data_ = bytes.substr(kLengthBytes + length);

  const nlohmann::json header = parse_json(bytes.substr(kLengthBytes, length), path_);
  if (!header.is_object()) bad_safetensors(path_, "the header must be a JSON object");
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(name, value, path_));
      continue;
    }
    if (!value.is_object()) bad_safetensors(path_, "__metadata__ must be a JSON object of strings");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) bad_safetensors(path_, fmt::format("__metadata__ must hold strings, '{}' is none", key));
      metadata_[key] = text.get<std::string>();
    }
  }
  std::sort(entries_.begin(), entries_.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name); });
  check_coverage(entries_, data_.size(), path_);
}

std::string_view SafetensorsFile::bytes(const TensorEntry& entry) const {
  return data_.substr(entry.begin, entry.end - entry.begin);
}

std::string write_safetensors(const std::filesystem::path& path, std::vector<TensorEntry> entries,
                              const std::function<std::string_view(size_t)>& data, const std::map<std::string, std::string>& metadata) {
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t reached = 0;
  for (TensorEntry& entry : entries) {
    entry.begin = reached;
    if (dtype_bytes(entry.dtype) == 0)
      throw std::invalid_argument("[core.safetensors] unknown dtype '" + entry.dtype + "' of " + entry.name);
    reached = entry.end = entry.begin + tensor_bytes(entry.dtype, entry.shape, path.string(), entry.name);
    if (entry.name == "__metadata__" || header.contains(entry.name)) {
      throw std::invalid_argument("[core.safetensors] tensor names must differ from each other and from __metadata__, got '" + entry.name +
                                  "' again");
    }
    header[entry.name] = {{"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = dump_json(header);
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');  // the data then starts on a multiple of 8
  std::string length(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i)
    length[i] = static_cast<char>(text.size() >> (8 * i));

  AtomicFile file(path);
  file.write(length);
  file.write(text);
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string_view bytes = data(i);
    if (bytes.size() != entries[i].end - entries[i].begin) {
      throw std::invalid_argument(fmt::format("[core.safetensors] tensor '{}' needs {} bytes, got {}", entries[i].name,
                                              entries[i].end - entries[i].begin, bytes.size()));
    }
    file.write(bytes);
  }
  file.commit();
  return sha256_file(path);
}

}  // namespace keel::core
