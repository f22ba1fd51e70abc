// A file of lines that grows beside checkpoints: metrics.jsonl, timings.jsonl.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace keel::core {

// Appends whole lines. A checkpoint records offset() after sync(). A resumed run passes that offset, and everything after it is cut off:
// those lines will be written again. Errors: UsageError when the folder is missing; IoError; DataError, with the file unchanged, when it is
// shorter than `offset` or no line ends there, so that it is not the file of the checkpoint.
class RowLog {
 public:
  explicit RowLog(std::filesystem::path path, int64_t offset = 0);
  RowLog(const RowLog&) = delete;
  RowLog& operator=(const RowLog&) = delete;
  ~RowLog();

  void append(std::string line);  // without its newline
  int64_t offset() const { return offset_; }
  void sync();  // to disk, the file's name too

 private:
  std::filesystem::path path_;
  int64_t offset_ = 0;  // bytes so far
  int descriptor_ = -1;
};

}  // namespace keel::core
