// Atomic files by write, fsync, rename, fsync of the folder (in that order: only so does a crash leave the old or the new file whole).
#include "core/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/system_error.h"

namespace keel::core {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// The path at which open() would create the target of a dangling link.
fs::path end_of_links(fs::path path) {
  std::error_code failed;
  for (int followed = 0; fs::is_symlink(fs::symlink_status(path, failed)); ++followed) {
    if (followed == 40) throw_system_error("write", path, ELOOP);  // as many as Linux follows
    const fs::path target = fs::read_symlink(path, failed);
    if (failed) throw_system_error("write", path, failed.value());
    path = path.parent_path() / target;
  }
  return path;
}

void sync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_system_error("open", path, errno);
  const int failed = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  if (failed != 0 && failed != EINVAL) throw_system_error("sync", path, failed);  // EINVAL: a file system without fsync
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  std::error_code ignored;
  // A link is written through, as open() would do it; renaming onto it would replace the link.
  if (fs::is_symlink(path_, ignored)) {
    fs::path target = fs::canonical(path_, ignored);
    if (!ignored)
      path_ = std::move(target);
    else if (!fs::exists(path_, ignored))
      path_ = end_of_links(path_);  // a target without a name (the pipe behind /dev/stdout) is written in place below
  }
  const fs::file_status status = fs::status(path_, ignored);
  if (fs::is_directory(status)) throw UsageError("cannot write " + path_.string() + ": it is a folder; name a file");
  if (!fs::is_directory(folder_of(path_), ignored)) {
    throw UsageError("cannot write " + path_.string() + ": the folder " + folder_of(path_).string() + " does not exist; create it first");
  }
  if (fs::exists(status) && !fs::is_regular_file(status)) {  // /dev/null, a pipe: written in place, must never be renamed over
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) throw_system_error("write", path_, errno);
    return;
  }
  static std::atomic<int> counter{0};
  const std::string name = path_.filename().string().substr(0, 200);  // file names end at 255 bytes
  do {
    temporary_ = folder_of(path_) / ("." + name + "." + std::to_string(::getpid()) + "-" + std::to_string(counter++) + ".tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);  // left by a killed process with our process id
  if (descriptor_ < 0) throw_system_error("write", path_, errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  write_fully(descriptor_, bytes, path_);
}

void AtomicFile::commit() {
  if (descriptor_ < 0) throw std::logic_error("[AtomicFile] commit() may be called once: " + path_.string());
  const bool in_place = temporary_.empty();
  if (!in_place && ::fsync(descriptor_) != 0) throw_system_error("write", path_, errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) throw_system_error("write", path_, errno);
  if (in_place) return;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_system_error("write", path_, errno);
  temporary_.clear();
  sync_directory(folder_of(path_));
}

void write_file(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

std::string read_file(const fs::path& path) {
  ReadDescriptor file(path);
  std::string bytes;
  struct stat status {};
  if (::fstat(file.number, &status) == 0 && status.st_size > 0) bytes.reserve(static_cast<size_t>(status.st_size));
  char chunk[1 << 16];
  while (const size_t count = file.read(chunk, sizeof chunk))
    bytes.append(chunk, count);
  return bytes;
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw_system_error("create the folder", path, error.value());
}

fs::path output_folder(const fs::path& path) {
  const auto refuse = [&](const std::string& why) { throw UsageError(path.string() + " " + why); };
  if (path.empty()) throw UsageError("an empty name is no place for a folder: name a new folder");
  std::error_code failed;
  fs::path target = fs::absolute(path);
  while ((!target.has_filename() || target.filename() == ".") && target.has_relative_path())  // "models/x/", "models/x/."
    target = target.parent_path();
  if (target.filename() == "..")
    target = fs::weakly_canonical(target, failed);
  else  // the name itself stays: it may be a link
    target = fs::weakly_canonical(target.parent_path(), failed) / target.filename();
  if (failed) throw_system_error("write the folder", path, failed.value());
  const fs::path current = fs::current_path();
  const fs::path relative = current.lexically_relative(target);
  if (!relative.empty() && *relative.begin() != "..")
    refuse("is the current folder or lies above it, and nothing could be renamed into its place: name a new folder");
  const fs::file_status link = fs::symlink_status(target, failed);
  if (fs::is_symlink(link)) {
    if (!fs::exists(target, failed) && failed) throw_system_error("write the folder", path, failed.value());  // links in a circle
    refuse("is a link: name the folder itself");
  }
  if (fs::exists(link)) {
    if (!fs::is_directory(link)) refuse("is there already and no folder: choose another name or remove it");
    if (!fs::is_empty(target, failed) && !failed) refuse("is there already and not empty: choose another name or remove it");
  }
  fs::path above = target.parent_path();
  while (!fs::exists(fs::status(above, failed)) && above.has_relative_path())
    above = above.parent_path();
  if (!fs::is_directory(above, failed)) refuse("lies below " + above.string() + ", which is no folder: choose another place");
  if (::access(above.c_str(), W_OK | X_OK) != 0) throw_system_error("write into", above, errno);
  struct stat inner {
  }, outer{};
  if (fs::exists(link) && ::stat(target.c_str(), &inner) == 0 && ::stat(above.c_str(), &outer) == 0 && inner.st_dev != outer.st_dev)
    refuse("is a mount point, onto which no folder can be renamed: name a folder inside it");
  return target;
}

void sync_directory(const fs::path& path) {
  sync_path(path, O_DIRECTORY);
}

void commit_directory(const fs::path& temporary, const fs::path& final_path) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(temporary, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_symlink()) continue;
    if (entry->is_directory() || entry->is_regular_file()) sync_path(entry->path(), 0);
  }
  if (error) throw_system_error("read", temporary, error.value());
  sync_directory(temporary);
  if (::rename(temporary.c_str(), final_path.c_str()) != 0) throw_system_error("commit", final_path, errno);
  sync_directory(folder_of(final_path));
}

void commit_file(const fs::path& temporary, const fs::path& final_path) {
  sync_path(temporary, 0);
  if (::rename(temporary.c_str(), final_path.c_str()) != 0) throw_system_error("commit", final_path, errno);
  sync_directory(folder_of(final_path));
}

MappedFile::MappedFile(const fs::path& path) {
  const ReadDescriptor file(path);
  struct stat status {};
  if (::fstat(file.number, &status) != 0) throw_system_error("read", path, errno);
  if (!S_ISREG(status.st_mode)) throw IoError("cannot read " + path.string() + ": it is no regular file");
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;
  data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (data_ == MAP_FAILED) throw_system_error("read", path, errno);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace keel::core
