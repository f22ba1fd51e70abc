#include "core/zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <set>

#include "core/error.h"
#include "core/utf8.h"

namespace keel::core {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kLocalHeader = "PK\x03\x04"sv, kDirectoryHeader = "PK\x01\x02"sv, kEnd = "PK\x05\x06"sv, kEnd64 = "PK\x06\x06"sv,
                           kLocator64 = "PK\x06\x07"sv;
constexpr uint64_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kDirectoryHeaderBytes = 46, kLocalHeaderBytes = 30;
constexpr uint64_t kLongestComment = 0xffff;
constexpr uint64_t kFull16 = 0xffff, kFull32 = 0xffffffff;  // "see the 64-bit field"

// The bytes of an archive; every read is checked against their end.
class Archive {
 public:
  Archive(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  [[noreturn]] void refuse(const std::string& text) const {
    throw DataError(path_, 0, text + "; the file is incomplete or damaged: fetch it again");
  }

  std::string_view range(uint64_t begin, uint64_t size, const char* what) const {
    if (begin > bytes_.size() || size > bytes_.size() - begin)
      refuse(fmt::format("{} should be {} bytes from byte {}, but the file has {}", what, size, begin, bytes_.size()));
    return bytes_.substr(begin, size);
  }

  uint64_t size() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  const std::string& path_;
};

// A little-endian number of `size` bytes; `header` must hold it.
uint64_t number(std::string_view header, size_t offset, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i)
    value |= uint64_t{static_cast<unsigned char>(header[offset + i])} << (8 * i);
  return value;
}

struct Directory {
  uint64_t begin = 0, size = 0, count = 0;
};

// Where the record at the end of the archive lies: the last one whose comment ends with the file.
uint64_t find_end(const Archive& archive) {
  const uint64_t size = archive.size();
  if (size < kEndBytes) archive.refuse(fmt::format("a zip archive has at least {} bytes, got {}", kEndBytes, size));
  const uint64_t first = size - std::min(size, kEndBytes + kLongestComment);
  for (uint64_t at = size - kEndBytes + 1; at-- > first;) {
    const std::string_view end = archive.range(at, kEndBytes, "the end record");
    if (end.starts_with(kEnd) && number(end, 20, 2) == size - at - kEndBytes) return at;
  }
  archive.refuse("the zip archive has no directory at its end");
}

Directory find_directory(const Archive& archive) {
  const uint64_t at = find_end(archive);
  const std::string_view end = archive.range(at, kEndBytes, "the end record");
  Directory directory{.begin = number(end, 16, 4), .size = number(end, 12, 4), .count = number(end, 10, 2)};
  uint64_t disks = number(end, 4, 2) | number(end, 6, 2);
  const bool has_locator = at >= kLocatorBytes && archive.range(at - kLocatorBytes, 4, "the locator") == kLocator64;
  if (has_locator) {
    const std::string_view locator = archive.range(at - kLocatorBytes, kLocatorBytes, "the locator");
    const std::string_view large = archive.range(number(locator, 8, 8), kEnd64Bytes, "the 64-bit end record");
    if (!large.starts_with(kEnd64)) archive.refuse("the 64-bit end record is not where its locator says");
    directory = {.begin = number(large, 48, 8), .size = number(large, 40, 8), .count = number(large, 32, 8)};
    disks = number(large, 16, 4) | number(large, 20, 4) | number(locator, 4, 4);
  } else if (directory.begin == kFull32 || directory.size == kFull32 || directory.count == kFull16) {
    archive.refuse("the 64-bit end record of the zip archive is missing");
  }
  if (disks != 0) archive.refuse("the zip archive spans several files");
  return directory;
}

// Sizes and place of an entry; `extra` holds, in this order, those whose 32 bits are full.
struct Place {
  uint64_t size = 0, stored = 0, header = 0;
};

void read_extra(std::string_view extra, Place& place, const std::string& name, const Archive& archive) {
  while (extra.size() >= 4) {
    const uint64_t kind = number(extra, 0, 2), length = number(extra, 2, 2);
    if (length > extra.size() - 4) archive.refuse(fmt::format("the extra fields of entry '{}' are cut", printable(name)));
    std::string_view field = extra.substr(4, length);
    extra.remove_prefix(4 + length);
    if (kind != 1) continue;
    for (uint64_t* value : {&place.size, &place.stored, &place.header}) {
      if (*value != kFull32) continue;
      if (field.size() < 8) archive.refuse(fmt::format("the 64-bit sizes of entry '{}' are cut", printable(name)));
      *value = number(field, 0, 8);
      field.remove_prefix(8);
    }
    return;
  }
}

// The byte range behind the entry's own header.
ZipEntry locate(const Archive& archive, const std::string& name, const Place& place) {
  const std::string_view header = archive.range(place.header, kLocalHeaderBytes, "the header of an entry");
  const uint64_t name_bytes = number(header, 26, 2), extra_bytes = number(header, 28, 2);
  const std::string_view own = archive.range(place.header + kLocalHeaderBytes, name_bytes, "the name of an entry");
  if (!header.starts_with(kLocalHeader) || number(header, 8, 2) != 0 || own != name)
    archive.refuse(fmt::format("the header of entry '{}' differs from the directory", printable(name)));
  const uint64_t begin = place.header + kLocalHeaderBytes + name_bytes + extra_bytes;
  archive.range(begin, place.size, fmt::format("entry '{}'", printable(name)).c_str());
  return {.name = name, .begin = begin, .size = place.size};
}

}  // namespace

bool is_zip(std::string_view bytes) {
  return bytes.starts_with(kLocalHeader);
}

std::vector<ZipEntry> read_stored_zip(std::string_view bytes, const std::string& path) {
  const Archive archive(bytes, path);
  const Directory directory = find_directory(archive);
  std::string_view left = archive.range(directory.begin, directory.size, "the directory");
  std::vector<ZipEntry> entries;
  std::set<std::string_view> names;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;  // of headers and contents
  for (uint64_t i = 0; i < directory.count; ++i) {
    if (left.size() < kDirectoryHeaderBytes || !left.starts_with(kDirectoryHeader))
      archive.refuse(fmt::format("the directory must have {} entries, the one after {} is broken", directory.count, i));
    const std::string_view header = left.substr(0, kDirectoryHeaderBytes);
    const uint64_t name_bytes = number(header, 28, 2), extra_bytes = number(header, 30, 2), comment_bytes = number(header, 32, 2);
    const uint64_t whole = kDirectoryHeaderBytes + name_bytes + extra_bytes + comment_bytes;
    if (left.size() < whole) archive.refuse(fmt::format("entry {} of the directory is cut", i));
    const std::string_view name = left.substr(kDirectoryHeaderBytes, name_bytes);
    Place place{.size = number(header, 24, 4), .stored = number(header, 20, 4), .header = number(header, 42, 4)};
    read_extra(left.substr(kDirectoryHeaderBytes + name_bytes, extra_bytes), place, std::string(name), archive);
    left.remove_prefix(whole);
    if (number(header, 10, 2) != 0)
      throw DataError(
          path, 0,
          fmt::format("entry '{}' is compressed, which torch.save never does; save the checkpoint again with it", printable(name)));
    if ((number(header, 8, 2) & 1) != 0)
      throw DataError(path, 0, fmt::format("entry '{}' is encrypted: unpack the archive", printable(name)));
    if (place.size != place.stored) archive.refuse(fmt::format("entry '{}' is stored, but has two sizes", printable(name)));
    if (!names.insert(name).second) archive.refuse(fmt::format("entry '{}' stands twice", printable(name)));
    entries.push_back(locate(archive, std::string(name), place));
    ranges.emplace_back(place.header, entries.back().begin + place.size);
  }
  if (!left.empty()) archive.refuse(fmt::format("the directory has more than its {} entries", directory.count));
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second) archive.refuse("entries of the zip archive overlap");
  return entries;
}

}  // namespace keel::core
