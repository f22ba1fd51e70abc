#include "core/digest_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "support/test_plain.h"

using keel::core::DigestCache;
using keel::core::sha256_file;
using keel::test::TemporaryFolder;
using keel::test::write_text;

namespace {

// Sets a file's modification time to the past. Its change time cannot be set, so a test has to wait for the cache to accept it.
void write_old(const std::filesystem::path& file, const std::string& text) {
  write_text(file, text);
  const std::array<timespec, 2> times = {timespec{1'000'000'000, 5}, timespec{1'000'000'000, 5}};
  REQUIRE(utimensat(AT_FDCWD, file.c_str(), times.data(), 0) == 0);
}

// Replaces a remembered digest by a wrong one, to tell remembered digests from computed ones.
void mark(const std::filesystem::path& cache) {
  nlohmann::json all = keel::core::read_json_file(cache);
  for (auto& [path, entry] : all.items())
    entry["sha256"] = "remembered";
  write_text(cache, all.dump());
}

}  // namespace

TEST_CASE("digest cache: a file is read once; any change of bytes, size, time or inode has it read again", "[core]") {
  const TemporaryFolder folder;
  const auto file = folder / "weights", cache = folder / "digests.json";
  write_old(file, "abc");
  const auto digest = [&](bool save = false) {
    DigestCache digests(cache);
    std::string value = digests.sha256(file);
    if (save) digests.save();
    return value;
  };
  CHECK(digest(true) == sha256_file(file));
  CHECK(keel::core::read_json_file(cache).empty());  // changed just now: it may change again within the same clock tick
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  CHECK(digest(true) == sha256_file(file));
  mark(cache);
  CHECK(digest() == "remembered");
  CHECK(DigestCache().sha256(file) == sha256_file(file));  // one that knows nothing
  DigestCache distrustful(cache, false);
  CHECK(distrustful.sha256(file) == sha256_file(file));
  distrustful.save();
  CHECK(digest() == sha256_file(file));  // the wrong one is gone
  mark(cache);

  SECTION("the same size and the same time of writing") {
    write_old(file, "xyz");
    CHECK(digest() == sha256_file(file));
  }
  SECTION("another file under the name") {
    write_old(folder / "other", "abc");
    std::filesystem::rename(folder / "other", file);
    CHECK(digest() == sha256_file(file));
  }
  SECTION("gone") {
    std::filesystem::remove(file);
    CHECK_THROWS_AS(digest(), keel::core::UsageError);
  }
  SECTION("a broken cache") {
    for (const char* broken : {"", "[1]", R"({"x": {"bytes": "many"}})", "{"}) {
      write_text(cache, broken);
      CHECK(digest() == sha256_file(file));
    }
  }
}
