// The GGUF container as its specification (ggml, docs/gguf.md) defines it. A count in the file must fit the remaining bytes, so that a
// wrong header cannot cause a huge allocation.
#include "core/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <type_traits>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/gguf_blocks.h"

static_assert(std::endian::native == std::endian::little, "GGUF is read as little-endian memory");

namespace keel::core {
namespace {

enum class ValueType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

class GgufReader {
 public:
  GgufReader(std::string_view data, const std::string& path) : data_(data), path_(path) {}

  [[noreturn]] void fail(const std::string& text) const {
    throw DataError(path_, 0, fmt::format("{} (at byte {} of {}); the file is incomplete or damaged", text, at_, data_.size()));
  }
  // For a valid file in an unsupported form.
  [[noreturn]] void refuse(const std::string& text) const { throw DataError(path_, 0, text); }
  size_t position() const { return at_; }

  std::string_view take(uint64_t bytes, const char* what) {
    if (bytes > data_.size() - at_) fail(fmt::format("{} of {} bytes passes the end of the file", what, bytes));
    const std::string_view taken = data_.substr(at_, bytes);
    at_ += bytes;
    return taken;
  }
  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string text(const char* what) { return std::string(take(number<uint64_t>(what), what)); }

  // The number of items that follow, each of at least `least_bytes`.
  uint64_t count(size_t least_bytes, const char* what) {
    const auto items = number<uint64_t>(what);
    if (items > (data_.size() - at_) / least_bytes) fail(fmt::format("{} {} cannot fit into the file", items, what));
    return items;
  }

 private:
  std::string_view data_;
  const std::string& path_;
  size_t at_ = 0;
};

size_t value_bytes(GgufReader& reader, ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::boolean:
      return 1;
    case ValueType::u16:
    case ValueType::i16:
      return 2;
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::u64:
    case ValueType::i64:
    case ValueType::f64:
    case ValueType::text:  // its length at least
      return 8;
    case ValueType::array:
      break;
  }
  reader.fail(fmt::format("metadata value type {} is not known here", static_cast<uint32_t>(type)));
}

// One value that is not an array. Integers become int64; only those beyond its range stay uint64.
GgufValue read_scalar(GgufReader& reader, ValueType type) {
  constexpr const char* kWhat = "a metadata value";
  switch (type) {
    case ValueType::u8:
      return int64_t{reader.number<uint8_t>(kWhat)};
    case ValueType::i8:
      return int64_t{reader.number<int8_t>(kWhat)};
    case ValueType::u16:
      return int64_t{reader.number<uint16_t>(kWhat)};
    case ValueType::i16:
      return int64_t{reader.number<int16_t>(kWhat)};
    case ValueType::u32:
      return int64_t{reader.number<uint32_t>(kWhat)};
    case ValueType::i32:
      return int64_t{reader.number<int32_t>(kWhat)};
    case ValueType::i64:
      return reader.number<int64_t>(kWhat);
    case ValueType::f32:
      return double{reader.number<float>(kWhat)};
    case ValueType::f64:
      return reader.number<double>(kWhat);
    case ValueType::text:
      return reader.text("a metadata string");
    case ValueType::boolean: {
      const auto value = reader.number<uint8_t>(kWhat);
      if (value > 1) reader.fail(fmt::format("a boolean must be 0 or 1, got {}", value));
      return value == 1;
    }
    case ValueType::u64: {
      const auto value = reader.number<uint64_t>(kWhat);
      if (value <= INT64_MAX) return static_cast<int64_t>(value);
      return value;
    }
    case ValueType::array:
      break;
  }
  reader.fail(fmt::format("metadata value type {} is not known here", static_cast<uint32_t>(type)));
}

GgufValue read_array(GgufReader& reader) {
  const auto type = static_cast<ValueType>(reader.number<uint32_t>("the type of an array"));
  const uint64_t size = reader.count(value_bytes(reader, type), "array elements");
  std::vector<int64_t> integers;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < size; ++i) {
    GgufValue value = read_scalar(reader, type);
    if (std::holds_alternative<uint64_t>(value)) reader.fail("integers of arrays must be below 2^63");
    if (const auto* integer = std::get_if<int64_t>(&value)) integers.push_back(*integer);
    if (const auto* flag = std::get_if<bool>(&value)) integers.push_back(*flag ? 1 : 0);
    if (const auto* number = std::get_if<double>(&value)) numbers.push_back(*number);
    if (auto* text = std::get_if<std::string>(&value)) texts.push_back(std::move(*text));
  }
  if (type == ValueType::text) return texts;
  if (type == ValueType::f32 || type == ValueType::f64) return numbers;
  return integers;
}

std::map<std::string, GgufValue> read_metadata(GgufReader& reader, uint64_t count) {
  std::map<std::string, GgufValue> metadata;
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = reader.text("a metadata key");
    const auto type = static_cast<ValueType>(reader.number<uint32_t>("a value type"));
    GgufValue value = type == ValueType::array ? read_array(reader) : read_scalar(reader, type);
    if (!metadata.emplace(key, std::move(value)).second) reader.fail(fmt::format("metadata key '{}' stands twice", key));
  }
  return metadata;
}

GgufTensor read_tensor(GgufReader& reader) {
  GgufTensor tensor;
  tensor.name = reader.text("a tensor name");
  const auto dimensions = reader.number<uint32_t>("the number of dimensions");
  if (dimensions > 4) reader.fail(fmt::format("tensor '{}' must have at most 4 dimensions, has {}", tensor.name, dimensions));
  uint64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = reader.number<uint64_t>("a tensor dimension");
    if (size == 0 || __builtin_mul_overflow(elements, size, &elements) || elements > INT64_MAX / 8) {
      reader.fail(fmt::format("tensor '{}' has a shape that no file holds (a size of {})", tensor.name, size));
    }
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
  }
  tensor.type = reader.number<uint32_t>("a tensor type");
  const GgufBlock* block = find_gguf_block(tensor.type);
  if (const char* name = ggml_type_name(tensor.type); block == nullptr && name != nullptr)
    reader.refuse(fmt::format(
        "tensor '{}' is of ggml type {} ({}), which keel does not read: it reads {}; fetch the model in one of these, or write it "
        "anew (llama-quantize --allow-requantize IN OUT Q8_0)",
        tensor.name, tensor.type, name, gguf_block_names()));
  if (block == nullptr) reader.fail(fmt::format("tensor '{}' has ggml type {}; read are {}", tensor.name, tensor.type, gguf_block_names()));
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % block->elements != 0) {
    reader.fail(
        fmt::format("rows of tensor '{}' must be whole {} blocks of {}, have {} elements", tensor.name, block->name, block->elements, row));
  }
  tensor.bytes = elements / static_cast<uint64_t>(block->elements) * block->bytes;
  tensor.begin = reader.number<uint64_t>("a tensor offset");
  return tensor;
}

void check_ranges(const GgufReader& reader, const std::vector<GgufTensor>& tensors, uint64_t alignment, uint64_t data_bytes) {
  std::vector<const GgufTensor*> sorted;
  std::set<std::string> names;
  for (const GgufTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) reader.fail(fmt::format("tensor '{}' stands twice", tensor.name));
    if (tensor.begin % alignment != 0) {
      reader.fail(fmt::format("tensor '{}' must begin at a multiple of {} bytes, begins at {}", tensor.name, alignment, tensor.begin));
    }
    if (tensor.begin > data_bytes || tensor.bytes > data_bytes - tensor.begin) {
      reader.fail(
          fmt::format("tensor '{}' ({} bytes from {}) passes the {} bytes of data", tensor.name, tensor.bytes, tensor.begin, data_bytes));
    }
    sorted.push_back(&tensor);
  }
  std::sort(sorted.begin(), sorted.end(), [](const GgufTensor* a, const GgufTensor* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1]->begin + sorted[i - 1]->bytes <= sorted[i]->begin) continue;
    reader.fail(fmt::format("tensors '{}' and '{}' overlap", sorted[i - 1]->name, sorted[i]->name));
  }
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : path_(path.string()), file_(std::make_unique<MappedFile>(path)) {
  refuse_other_file(file_->bytes(), path_, WholeFile::gguf);
  GgufReader reader(file_->bytes(), path_);
  if (reader.take(4, "the magic") != "GGUF") reader.fail("a GGUF file must begin with 'GGUF'");
  const auto version = reader.number<uint32_t>("the version");
  if (version == 0x02000000 || version == 0x03000000)
    reader.refuse("is a GGUF file of a version for big-endian machines; keel reads little-endian ones: write it anew on such a machine");
  if (version == 1) reader.refuse("is GGUF version 1, of before August 2023; keel reads versions 2 and 3: fetch the model in one of these");
  if (version != 2 && version != 3) reader.fail(fmt::format("GGUF version must be 2 or 3 (little-endian), got {}", version));
  constexpr size_t kLeastTensor = 8 + 4 + 4 + 8, kLeastPair = 8 + 4 + 1;
  const uint64_t tensors = reader.count(kLeastTensor, "tensors");
  const uint64_t pairs = reader.count(kLeastPair, "metadata pairs");
  metadata_ = read_metadata(reader, pairs);
  if (const int64_t parts = integer("split.count", 1); parts > 1)
    reader.refuse(fmt::format("is file {} of {} of a split model: join them first (llama-gguf-split --merge FIRST OUT)",
                              integer("split.no", 0) + 1, parts));
  for (uint64_t i = 0; i < tensors; ++i)
    tensors_.push_back(read_tensor(reader));

  const int64_t alignment = integer("general.alignment", 32);
  if (alignment < 1 || alignment > (1 << 20) || !std::has_single_bit(static_cast<uint64_t>(alignment))) {
    reader.fail(fmt::format("general.alignment must be a power of two up to 2^20, got {}", alignment));
  }
  const auto step = static_cast<uint64_t>(alignment);
  const uint64_t start = (reader.position() + step - 1) / step * step;
  data_ = file_->bytes().substr(std::min<uint64_t>(start, file_->bytes().size()));
  check_ranges(reader, tensors_, step, data_.size());
}

namespace {

template <class T>
const T& value_of(const GgufFile& file, const std::string& key, const char* kind) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) throw DataError(file.path(), 0, fmt::format("metadata key '{}' ({}) is missing", key, kind));
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) throw DataError(file.path(), 0, fmt::format("metadata key '{}' must be {}", key, kind));
  return *value;
}

}  // namespace

int64_t GgufFile::integer(const std::string& key) const {
  return value_of<int64_t>(*this, key, "an integer below 2^63");
}
int64_t GgufFile::integer(const std::string& key, int64_t missing) const {
  return has(key) ? integer(key) : missing;
}

double GgufFile::number(const std::string& key) const {
  const auto found = metadata_.find(key);
  if (found != metadata_.end() && std::holds_alternative<int64_t>(found->second)) return static_cast<double>(integer(key));
  return value_of<double>(*this, key, "a number");
}
double GgufFile::number(const std::string& key, double missing) const {
  return has(key) ? number(key) : missing;
}

bool GgufFile::flag(const std::string& key, bool missing) const {
  return has(key) ? value_of<bool>(*this, key, "a boolean") : missing;
}

std::string GgufFile::text(const std::string& key) const {
  return value_of<std::string>(*this, key, "a string");
}
std::string GgufFile::text(const std::string& key, const std::string& missing) const {
  return has(key) ? text(key) : missing;
}

const std::vector<std::string>& GgufFile::texts(const std::string& key) const {
  return value_of<std::vector<std::string>>(*this, key, "an array of strings");
}
const std::vector<int64_t>& GgufFile::integers(const std::string& key) const {
  return value_of<std::vector<int64_t>>(*this, key, "an array of integers");
}
const std::vector<double>& GgufFile::numbers(const std::string& key) const {
  return value_of<std::vector<double>>(*this, key, "an array of numbers");
}

std::vector<float> GgufFile::dequantised(const GgufTensor& tensor) const {
  const GgufBlock& block = *find_gguf_block(tensor.type);
  const auto elements = static_cast<size_t>(block.elements);
  std::vector<float> weights(tensor.bytes / block.bytes * elements);
  const auto* bytes = reinterpret_cast<const unsigned char*>(data_.data()) + tensor.begin;
  for (size_t i = 0; i * elements < weights.size(); ++i)
    block.expand(bytes + i * block.bytes, weights.data() + i * elements);
  return weights;
}

}  // namespace keel::core
