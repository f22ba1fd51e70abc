// SHA-256 of files that are too large to be read by every command: checkpoints and data that lie outside of a run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace keel::core {

// Remembers the digest of a file with its size, inode and times of change (to the nanosecond), and reads the file again only when one of
// them is another. A file changed within the last two seconds is not remembered: it may change once more within one tick of its clock.
class DigestCache {
 public:
  // What `file` holds; a missing or unreadable one knows nothing, and nothing is lost but time. "" = knows nothing, save() does nothing.
  explicit DigestCache(std::filesystem::path file = {});

  // UsageError and IoError as sha256_file() has them.
  std::string sha256(const std::filesystem::path& path);

  void save() const;  // the files that this object was asked for; IoError

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
