// Files of torch.save for tests, whole or damaged: the parts of the zip archive and of the pickle are byte strings that a test may change.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace keel::test::torch_save {

// A number as a file holds it: little-endian, as every machine that keel runs on.
template <class T>
std::string raw(T number) {
  std::string bytes(sizeof number, '\0');
  std::memcpy(bytes.data(), &number, sizeof number);
  return bytes;
}

// The archive

struct Entry {
  std::string name, data;
  uint16_t method = 0, flags = 0;  // of compression; bit 0: encrypted
  uint64_t claimed = UINT64_MAX;   // size that the directory gives, if not that of `data`
};

// `large`: with the 64-bit records, as torch.save writes them for files of any size. Contents begin at multiples of 64 bytes.
inline std::string zip(const std::vector<Entry>& entries, bool large = true) {
  std::string bytes, directory;
  for (const Entry& entry : entries) {
    const uint64_t size = entry.claimed == UINT64_MAX ? entry.data.size() : entry.claimed;
    const size_t header = bytes.size();
    const size_t padding = (64 - (header + 30 + entry.name.size() + 4) % 64) % 64;
    const std::string middle = raw(entry.flags) + raw(entry.method) + raw(uint32_t{0}) + raw(uint32_t{0});  // time, date; checksum
    bytes += "PK\x03\x04" + raw(uint16_t{20}) + middle + raw(static_cast<uint32_t>(size)) + raw(static_cast<uint32_t>(size)) +
             raw(static_cast<uint16_t>(entry.name.size())) + raw(static_cast<uint16_t>(4 + padding)) + entry.name + "FB" +
             raw(static_cast<uint16_t>(padding)) + std::string(padding, 'Z') + entry.data;
    const uint32_t full = UINT32_MAX;
    const std::string extra = large ? raw(uint16_t{1}) + raw(uint16_t{24}) + raw(size) + raw(size) + raw(uint64_t{header}) : "";
    directory += "PK\x01\x02" + raw(uint16_t{45}) + raw(uint16_t{45}) + middle + raw(large ? full : static_cast<uint32_t>(size)) +
                 raw(large ? full : static_cast<uint32_t>(size)) + raw(static_cast<uint16_t>(entry.name.size())) +
                 raw(static_cast<uint16_t>(extra.size())) + raw(uint16_t{0}) + raw(uint16_t{0}) + raw(uint16_t{0}) + raw(uint32_t{0}) +
                 raw(large ? full : static_cast<uint32_t>(header)) + entry.name + extra;
  }
  const uint64_t begin = bytes.size(), count = entries.size();
  bytes += directory;
  if (large) {
    const uint64_t record = bytes.size();
    bytes += "PK\x06\x06" + raw(uint64_t{44}) + raw(uint16_t{45}) + raw(uint16_t{45}) + raw(uint32_t{0}) + raw(uint32_t{0}) + raw(count) +
             raw(count) + raw(uint64_t{directory.size()}) + raw(begin);
    bytes += "PK\x06\x07" + raw(uint32_t{0}) + raw(record) + raw(uint32_t{1});
  }
  return bytes + "PK\x05\x06" + raw(uint16_t{0}) + raw(uint16_t{0}) + raw(static_cast<uint16_t>(large ? 0xffff : count)) +
         raw(static_cast<uint16_t>(large ? 0xffff : count)) + raw(large ? UINT32_MAX : static_cast<uint32_t>(directory.size())) +
         raw(large ? UINT32_MAX : static_cast<uint32_t>(begin)) + raw(uint16_t{0});
}

// The pickle

inline std::string text(const std::string& value) {
  return "X" + raw(static_cast<uint32_t>(value.size())) + value;
}
inline std::string integer(int64_t value) {
  if (value >= 0 && value < 256) return "K" + raw(static_cast<uint8_t>(value));
  if (value >= INT32_MIN && value <= INT32_MAX) return "J" + raw(static_cast<int32_t>(value));
  return "\x8a\x08" + raw(value);
}
inline std::string tuple(const std::vector<std::string>& parts) {
  std::string bytes = "(";
  for (const auto& part : parts)
    bytes += part;
  return bytes + "t";
}
inline std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> parts;
  for (const int64_t value : values)
    parts.push_back(integer(value));
  return tuple(parts);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string call(const std::string& callee, const std::vector<std::string>& arguments) {
  return callee + tuple(arguments) + "R";
}
inline const std::string kEmptyOrdered = global("collections", "OrderedDict") + ")R";

struct Described {
  std::string type = "FloatStorage", key = "0";
  int64_t items = 0, offset = 0;
  std::vector<int64_t> shape, strides;
};

inline std::string tensor(const Described& one) {
  const std::string storage = tuple({text("storage"), global("torch", one.type), text(one.key), text("cpu"), integer(one.items)}) + "Q";
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, integer(one.offset), integers(one.shape), integers(one.strides), "\x89", kEmptyOrdered});
}

using Items = std::vector<std::pair<std::string, std::string>>;  // name, pickled value

inline std::string dictionary(const Items& items) {
  std::string bytes = kEmptyOrdered + "(";
  for (const auto& [name, value] : items)
    bytes += text(name) + value;
  return bytes + "u";
}
inline std::string pickle(const std::string& value) {
  return "\x80\x02" + value + ".";
}

// Whole files

inline std::string file(const std::string& pickled, const std::vector<Entry>& storages, bool large = true) {
  std::vector<Entry> entries = {{.name = "archive/data.pkl", .data = pickled}, {.name = "archive/byteorder", .data = "little"}};
  for (Entry storage : storages) {
    storage.name = "archive/data/" + storage.name;
    entries.push_back(storage);
  }
  entries.push_back({.name = "archive/version", .data = "3\n"});
  return zip(entries, large);
}

struct Tensor {
  std::string name, type;  // "FloatStorage", "BFloat16Storage", "HalfStorage"
  std::vector<int64_t> shape;
  std::string bytes;  // row-major
};

// A file of these tensors, each in a storage of its own.
inline std::string file_of(const std::vector<Tensor>& tensors) {
  Items items;
  std::vector<Entry> storages;
  for (const Tensor& one : tensors) {
    std::vector<int64_t> strides(one.shape.size(), 1);
    for (size_t i = one.shape.size(); i-- > 1;)
      strides[i - 1] = strides[i] * one.shape[i];
    const std::string key = std::to_string(storages.size());
    const auto size = static_cast<int64_t>(one.bytes.size());
    items.emplace_back(one.name, tensor({.type = one.type,
                                         .key = key,
                                         .items = one.type == "FloatStorage" ? size / 4 : size / 2,
                                         .shape = one.shape,
                                         .strides = strides}));
    storages.push_back({.name = key, .data = one.bytes});
  }
  return file(pickle(dictionary(items)), storages);
}

}  // namespace keel::test::torch_save
