// The few system calls that core's file code shares, with the system's reason in the error.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace keel::core {

// "cannot VERB PATH: reason". UsageError for a missing or impossible path, IoError otherwise; a full disk says how many bytes are free.
[[noreturn]] void throw_system_error(const std::string& verb, const std::filesystem::path& path, int error_number);

// Writes all of `bytes`; `path` is for the error text.
void write_fully(int descriptor, std::string_view bytes, const std::filesystem::path& path);

// A file open for reading.
class ReadDescriptor {
 public:
  explicit ReadDescriptor(std::filesystem::path path);
  ReadDescriptor(const ReadDescriptor&) = delete;
  ReadDescriptor& operator=(const ReadDescriptor&) = delete;
  ~ReadDescriptor();
  size_t read(void* buffer, size_t size);  // 0 at the end
  std::string head(size_t size);           // the first bytes (fewer in a shorter file), which read() gives again; works on pipes
  const int number;

 private:
  std::filesystem::path path_;
  std::string ahead_;  // read by head(), not yet by read()
};

}  // namespace keel::core
