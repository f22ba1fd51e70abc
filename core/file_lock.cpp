// flock(2): the kernel drops it when its process dies, so no lock is ever stale. The file's body only tells people who holds it.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/system_error.h"

namespace keel::core {
namespace {

std::string lock_body() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  std::string command = read_file("/proc/self/cmdline");  // arguments, each ended by a zero byte
  while (!command.empty() && command.back() == '\0')
    command.pop_back();
  std::replace_if(
      command.begin(), command.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return "pid " + std::to_string(::getpid()) + " on " + host + ": " + command + "\n";
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path) : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw_system_error("lock", path, errno);
  try {
    int failed = 0;
    do {
      failed = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    } while (failed == EINTR);
    if (failed == EWOULDBLOCK) {
      std::string holder = read_file(path);
      while (!holder.empty() && holder.back() == '\n')
        holder.pop_back();
      throw LockedError(path.string() + " is held by " + (holder.empty() ? "another process" : holder) + "; wait for it or stop it");
    }
    if (failed != 0) throw_system_error("lock", path, failed);
    if (::ftruncate(descriptor_, 0) != 0) throw_system_error("write", path, errno);
    write_fully(descriptor_, lock_body(), path);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

FileLock::~FileLock() {
  ::close(descriptor_);
}

}  // namespace keel::core
