// errno in words, retried reads and writes.
#include "core/system_error.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace keel::core {

void throw_system_error(const std::string& verb, const std::filesystem::path& path, int error_number) {
  std::string text = "cannot " + verb + " " + path.string() + ": " + std::generic_category().message(error_number);
  // No such path can exist: the command line or a setting is wrong, not the disk.
  for (const int impossible : {ENOENT, ENOTDIR, EISDIR, ENAMETOOLONG})
    if (error_number == impossible) throw UsageError(text);
  if (error_number == ENOSPC || error_number == EDQUOT) {
    const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    struct statvfs space {};
    if (::statvfs(folder.c_str(), &space) == 0) {
      text += " (" + std::to_string(uint64_t{space.f_bavail} * space.f_frsize) + " bytes are free in " + folder.string() + ")";
    }
    text += "; nothing finished is lost: make room and run the same command again";
  }
  throw IoError(text);
}

void write_fully(int descriptor, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR) {
      throw_system_error("write", path, errno);
    }
  }
}

ReadDescriptor::ReadDescriptor(std::filesystem::path path) : number(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path_(std::move(path)) {
  if (number < 0) throw_system_error("read", path_, errno);
}

ReadDescriptor::~ReadDescriptor() {
  ::close(number);
}

std::string ReadDescriptor::head(size_t size) {
  std::string bytes(size, '\0');
  size_t have = 0;
  while (const size_t count = have < size ? read(bytes.data() + have, size - have) : 0)
    have += count;
  bytes.resize(have);
  ahead_ = bytes;
  return bytes;
}

size_t ReadDescriptor::read(void* buffer, size_t size) {
  if (!ahead_.empty()) {
    const size_t count = ahead_.copy(static_cast<char*>(buffer), size);
    ahead_.erase(0, count);
    return count;
  }
  for (;;) {
    const ssize_t count = ::read(number, buffer, size);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) throw_system_error("read", path_, errno);
  }
}

}  // namespace keel::core
