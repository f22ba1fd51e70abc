#include "core/digest_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace keel::core {
namespace {

constexpr int64_t kSettled = 2'000'000'000;  // nanoseconds

int64_t nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

DigestCache::Stamp DigestCache::stamp_of(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};  // sha256_file() says what is wrong
  return {.bytes = status.st_size,
          .inode = static_cast<int64_t>(status.st_ino),
          .modified = nanoseconds(status.st_mtim),
          .changed = nanoseconds(status.st_ctim)};
}

DigestCache::DigestCache(std::filesystem::path file, bool trusted) : file_(std::move(file)) {
  if (!trusted || file_.empty() || !std::filesystem::exists(file_)) return;
  try {
    const nlohmann::json all = read_json_file(file_);
    for (const auto& [path, entry] : all.items())
      known_[path] = {.stamp = {.bytes = entry.at("bytes"),
                                .inode = entry.at("inode"),
                                .modified = entry.at("modified_ns"),
                                .changed = entry.at("changed_ns")},
                      .digest = entry.at("sha256")};
  } catch (const Error&) {
    known_.clear();
  } catch (const nlohmann::json::exception&) {
    known_.clear();
  }
}

std::string DigestCache::sha256(const std::filesystem::path& path) {
  const std::string name = std::filesystem::absolute(path).lexically_normal();
  const Stamp stamp = stamp_of(path);
  const auto remembered = known_.find(name);
  if (remembered != known_.end() && remembered->second.stamp == stamp) {
    asked_[name] = remembered->second;
    return remembered->second.digest;
  }
  std::string digest = sha256_file(path);
  if (stamp_of(path) == stamp && now() - std::max(stamp.modified, stamp.changed) > kSettled) {
    known_[name] = asked_[name] = {.stamp = stamp, .digest = digest};
  }
  return digest;
}

void DigestCache::save() const {
  if (file_.empty()) return;
  nlohmann::json all = nlohmann::json::object();
  for (const auto& [path, entry] : asked_)
    all[path] = {{"bytes", entry.stamp.bytes},
                 {"inode", entry.stamp.inode},
                 {"modified_ns", entry.stamp.modified},
                 {"changed_ns", entry.stamp.changed},
                 {"sha256", entry.digest}};
  write_file(file_, dump_json(all) + "\n");
}

}  // namespace keel::core
