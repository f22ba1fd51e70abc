// SHA-256 of files that are too large for every command to read: checkpoints and data outside a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace keel::core {

// Remembers the digest of a file with its size, inode and times of change (to the nanosecond), and reads the file again only when one of
// these has changed. A file changed within the last two seconds is not remembered: it may change again within the same clock tick.
class DigestCache {
 public:
  // Loads `file`; a missing or unreadable one counts as empty, which costs only time. "": starts empty, and save() does nothing.
  // `trusted` false: every file is read again, and what is found is saved.
  explicit DigestCache(std::filesystem::path file = {}, bool trusted = true);

  // Throws as sha256_file().
  std::string sha256(const std::filesystem::path& path);

  void save() const;  // writes the digests that this object was asked for; IoError

 private:
  struct Stamp {
    int64_t bytes = 0, inode = 0, modified = 0, changed = 0;  // times in nanoseconds
    bool operator==(const Stamp&) const = default;
  };
  struct Entry {
    Stamp stamp;
    std::string digest;
  };
  static Stamp stamp_of(const std::filesystem::path& path);

  std::filesystem::path file_;
  std::map<std::string, Entry> known_, asked_;  // by absolute path
};

}  // namespace keel::core
