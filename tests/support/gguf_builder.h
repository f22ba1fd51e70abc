// GGUF files for tests, whole or damaged: the parts are byte strings that a test may change before it joins them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

namespace keel::test {

// A number as a file holds it: little-endian, as every machine that keel runs on.
template <class T>
std::string bytes_of(T number) {
  static_assert(std::is_arithmetic_v<T>);
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

namespace gguf {

constexpr uint32_t kU16 = 2, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;  // types of metadata

inline std::string counted(const std::string& text) {
  return bytes_of(uint64_t{text.size()}) + text;
}

// Values of metadata: the type, then the bytes.
inline std::string number(int64_t value) {
  return bytes_of(kU32) + bytes_of(static_cast<uint32_t>(value));
}
inline std::string real(double value) {
  return bytes_of(kF32) + bytes_of(static_cast<float>(value));
}
inline std::string flag(bool value) {
  return bytes_of(kBool) + bytes_of(static_cast<uint8_t>(value));
}
inline std::string text(const std::string& value) {
  return bytes_of(kString) + counted(value);
}
template <class T>
std::string list(uint32_t type, const std::vector<T>& elements) {
  std::string bytes = bytes_of(kArray) + bytes_of(type) + bytes_of(uint64_t{elements.size()});
  for (const auto& element : elements) {
    if constexpr (std::is_same_v<T, std::string>) {
      bytes += counted(element);
    } else {
      bytes += bytes_of(element);
    }
  }
  return bytes;
}
inline std::string texts(const std::vector<std::string>& values) {
  return list(kString, values);
}
inline std::string integers(const std::vector<int32_t>& values) {
  return list(kI32, values);
}
inline std::string reals(const std::vector<float>& values) {
  return list(kF32, values);
}

inline std::string pair(const std::string& key, const std::string& value) {
  return counted(key) + value;
}
inline std::string pair(const std::string& key, uint32_t type, const std::string& bytes) {
  return pair(key, bytes_of(type) + bytes);
}

// `sizes` as GGUF has them, the width of a row first; `type` is ggml's, 0 = F32.
inline std::string tensor_info(const std::string& name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
  std::string bytes = counted(name) + bytes_of(static_cast<uint32_t>(sizes.size()));
  for (const uint64_t size : sizes)
    bytes += bytes_of(size);
  return bytes + bytes_of(type) + bytes_of(offset);
}

inline void pad(std::string& bytes) {
  bytes.append((32 - bytes.size() % 32) % 32, '\0');
}

inline std::string file(const std::vector<std::string>& pairs, const std::vector<std::string>& tensor_infos, const std::string& data,
                        uint32_t version = 3) {
  std::string bytes = "GGUF" + bytes_of(version) + bytes_of(uint64_t{tensor_infos.size()}) + bytes_of(uint64_t{pairs.size()});
  for (const auto& part : pairs)
    bytes += part;
  for (const auto& part : tensor_infos)
    bytes += part;
  if (!data.empty()) pad(bytes);
  return bytes + data;
}

// F32 tensors one after another, as file() takes them.
struct Tensors {
  std::vector<std::string> infos;
  std::string data;

  void add(const std::string& name, const std::vector<int64_t>& shape, const std::string& values) {  // `shape` ends in the width of a row
    pad(data);
    infos.push_back(tensor_info(name, {shape.rbegin(), shape.rend()}, 0, data.size()));
    data += values;
  }
};

}  // namespace gguf
}  // namespace keel::test
