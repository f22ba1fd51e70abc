#include "core/row_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/system_error.h"

namespace keel::core {
namespace {

// Leaves the first `offset` bytes, which must be whole lines.
void cut(int descriptor, int64_t offset, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw_system_error("read", path, errno);
  char last = '\n';
  if (status.st_size < offset || (offset > 0 && ::pread(descriptor, &last, 1, offset - 1) != 1) || last != '\n') {
    throw DataError(path.string(), 0,
                    "the checkpoint recorded " + std::to_string(offset) + " bytes of whole lines, the file has " +
                        std::to_string(status.st_size) + " bytes: it was changed since");
  }
  if (::ftruncate(descriptor, offset) != 0) throw_system_error("write", path, errno);
}

}  // namespace

RowLog::RowLog(std::filesystem::path path, int64_t offset) : path_(std::move(path)), offset_(offset) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_system_error("write", path_, errno);
  try {
    cut(descriptor_, offset, path_);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

RowLog::~RowLog() {
  ::close(descriptor_);
}

void RowLog::append(std::string line) {
  line += '\n';
  write_fully(descriptor_, line, path_);
  offset_ += static_cast<int64_t>(line.size());
}

void RowLog::sync() {
  if (::fsync(descriptor_) != 0) throw_system_error("sync", path_, errno);
  sync_directory(path_.has_parent_path() ? path_.parent_path() : ".");
}

}  // namespace keel::core
