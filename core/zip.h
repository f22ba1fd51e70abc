// Zip archives whose entries are stored without compression, such as torch.save writes: names and byte ranges.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keel::core {

struct ZipEntry {
  std::string name;
  uint64_t begin = 0, size = 0;  // byte range inside the file
};

bool is_zip(std::string_view bytes);  // begins as one

// The entries of an archive in the order of its directory, from PKWARE's APPNOTE 6.3.10 with its 64-bit fields. DataError naming `path`
// when the file is cut, spans several disks, names an entry twice, or has an entry that is compressed, encrypted, outside of the file, over
// another one or described differently in its two headers. Checksums are not compared: torch.load does not either.
std::vector<ZipEntry> read_stored_zip(std::string_view bytes, const std::string& path);

}  // namespace keel::core
