#include "core/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/file_kind.h"
#include "core/safetensors.h"
#include "core/torch_pickle.h"
#include "core/utf8.h"
#include "core/zip.h"

namespace keel::core {
namespace {

constexpr uint64_t kLongestPickle = uint64_t{4} << 20;

// The entries of the archive by their names inside the one folder that torch.save puts them into.
std::map<std::string, ZipEntry> read_entries(std::string_view bytes, const std::string& path) {
  const std::vector<ZipEntry> entries = read_stored_zip(bytes, path);
  const auto pickle = std::find_if(entries.begin(), entries.end(), [](const ZipEntry& one) { return one.name.ends_with("/data.pkl"); });
  if (pickle == entries.end()) throw DataError(path, 0, "is a zip archive without data.pkl: it is not what torch.save writes");
  const std::string folder = pickle->name.substr(0, pickle->name.size() - std::string_view("data.pkl").size());
  std::map<std::string, ZipEntry> named;
  for (const ZipEntry& entry : entries) {
    if (!entry.name.starts_with(folder))
      throw DataError(
          path, 0,
          fmt::format("entry '{}' stands outside of {}: it is not what torch.save writes", printable(entry.name), printable(folder)));
    named.emplace(entry.name.substr(folder.size()), entry);
  }
  if (named.contains("constants.pkl")) throw DataError(path, 0, "is a TorchScript program: save its state_dict with torch.save");
  return named;
}

// How many elements a tensor has, and over how many of its storage it reaches: from the first to the last.
struct Extent {
  int64_t count = 0, reach = 0;
};

// Throws when a size is negative, a product overflows, the tensor has more elements than its storage, or it ends behind it.
Extent extent_of(const PickledTensor& tensor, const std::string& path) {
  const auto refuse = [&](const std::string& text) {
    throw DataError(path, 0,
                    fmt::format("tensor {} (shape [{}], strides [{}], offset {}, in a storage of {}) {}", printable(tensor.name),
                                fmt::join(tensor.shape, ", "), fmt::join(tensor.strides, ", "), tensor.offset, tensor.storage_items, text));
  };
  if (tensor.shape.size() != tensor.strides.size()) refuse("needs one stride for each size");
  int64_t count = 1, last = 0;
  bool empty = false;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] < 0 || tensor.strides[i] < 0) refuse("has a negative size or stride");
    empty |= tensor.shape[i] == 0;
    const int64_t steps = std::max<int64_t>(tensor.shape[i], 1) - 1;
    int64_t step = 0;
    if (__builtin_mul_overflow(count, steps + 1, &count) || __builtin_mul_overflow(steps, tensor.strides[i], &step) ||
        __builtin_add_overflow(last, step, &last))
      refuse("has more elements than any file holds");
  }
  if (tensor.offset < 0) refuse("has a negative offset");
  if (empty) return {};
  if (count > tensor.storage_items) refuse("has more elements than its storage");
  if (last > tensor.storage_items - 1 || tensor.offset > tensor.storage_items - 1 - last) refuse("reaches out of its storage");
  return {.count = count, .reach = last + 1};
}

}  // namespace

TorchFile::TorchFile(const std::filesystem::path& path) : path_(path.string()), file_(std::make_unique<MappedFile>(path)) {
  const std::string_view all = file_->bytes();
  if (!is_zip(all)) {
    if (all.starts_with("\x80\x02"))
      throw DataError(path_, 0, "is a file of torch.save from before PyTorch 1.6: load it and save it again with a newer PyTorch");
    refuse_foreign_file(all, path_);
    throw DataError(path_, 0, "is not what torch.save writes; the file is incomplete or damaged: fetch it again");
  }
  const std::map<std::string, ZipEntry> entries = read_entries(all, path_);
  if (const auto order = entries.find("byteorder");
      order != entries.end() && all.substr(order->second.begin, order->second.size) != "little")
    throw DataError(path_, 0, "holds big-endian numbers: save it again on a little-endian machine");
  const ZipEntry& pickle = entries.at("data.pkl");
  if (pickle.size > kLongestPickle)
    throw DataError(path_, 0, fmt::format("data.pkl must have at most {} bytes, got {}", kLongestPickle, pickle.size));

  std::map<std::string_view, std::string_view> dtypes;  // of the storages
  uint64_t together = 0;                                // bytes of all elements
  for (PickledTensor& one : read_torch_pickle(all.substr(pickle.begin, pickle.size), path_)) {
    const auto found = entries.find("data/" + std::string(one.storage));
    if (found == entries.end())
      throw DataError(path_, 0, fmt::format("tensor {} lies in data/{}, which is not there", printable(one.name), printable(one.storage)));
    const ZipEntry& storage = found->second;
    const uint64_t item = dtype_bytes(one.dtype);
    const bool fits = storage.size % item == 0 && one.storage_items >= 0 && storage.size / item == static_cast<uint64_t>(one.storage_items);
    if (!fits || dtypes.emplace(one.storage, one.dtype).first->second != one.dtype)
      throw DataError(path_, 0,
                      fmt::format("data/{} has {} bytes, but tensor {} needs it to hold {} numbers of type {}; the file is damaged",
                                  printable(one.storage), storage.size, printable(one.name), one.storage_items, one.dtype));
    const Extent extent = extent_of(one, path_);
    const auto reach = static_cast<uint64_t>(extent.reach);
    together += static_cast<uint64_t>(extent.count) * item;
    if (together / 2 > all.size())  // views may share a storage (a head that is the embedding), but must not multiply the file
      throw DataError(path_, 0, "describes tensors of more than twice its own bytes");
    tensors_.push_back({.name = std::string(one.name),
                        .dtype = std::string(one.dtype),
                        .shape = std::move(one.shape),
                        .strides = std::move(one.strides),
                        .begin = storage.begin + (reach == 0 ? 0 : static_cast<uint64_t>(one.offset) * item),
                        .bytes = reach * item});
  }
}

std::string_view TorchFile::bytes(const TorchTensor& tensor) const {
  return file_->bytes().substr(tensor.begin, tensor.bytes);
}

}  // namespace keel::core
