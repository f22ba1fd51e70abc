// Files that appear whole or not at all, and digests of what they hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace keel::core {

// Writes to a hidden temporary beside `path`; commit() syncs it and renames it into place. Without commit() nothing remains. Errors give
// the path and the system's reason: UsageError when the folder is missing or `path` is a folder, else IoError (a full disk says how many
// bytes are free). A symbolic link is written through; anything but a regular file (/dev/null, a pipe) is written in place.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::string_view bytes);
  void write(const void* bytes, size_t size) { write({static_cast<const char*>(bytes), size}); }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
};

void write_file(const std::filesystem::path& path, std::string_view bytes);  // atomically

// A whole file; UsageError when it is missing, IoError when it cannot be read.
std::string read_file(const std::filesystem::path& path);

void make_directories(const std::filesystem::path& path);  // UsageError when a parent is a file, else IoError
// A folder that a command fills as a whole and renames into place at its end: absolute and without dots. UsageError, before any work, for a
// path that the rename could not replace: "", the current folder or one above it, a link, a mount point, a folder that is not empty, a
// file, a path below a file or in a place that cannot be written.
std::filesystem::path output_folder(const std::filesystem::path& path);

void sync_directory(const std::filesystem::path& path);  // makes renames inside it durable

// Syncs everything in a finished directory, renames it into place and makes that durable (both must be on one file system; IoError when
// `final_path` exists and is not empty).
void commit_directory(const std::filesystem::path& temporary, const std::filesystem::path& final_path);

// The same for a file; replaces one that is there.
void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& final_path);

std::string sha256(std::string_view bytes);  // 64 hexadecimal digits

// Streamed. UsageError for a missing path and anything but a regular file: reading would drain a pipe, or wait for ever if nobody writes to
// it.
std::string sha256_file(const std::filesystem::path& path);

// Read-only memory map of a file; empty files map to an empty view. Throws UsageError when missing, IoError otherwise.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// An exclusive lock (flock) that the kernel drops when the process dies. Throws LockedError naming the holder written in the file.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  int descriptor_ = -1;
};

}  // namespace keel::core
