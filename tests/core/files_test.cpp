#include "core/files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <csignal>

#include <algorithm>
#include <chrono>
#include <thread>

#include "child_process.h"
#include "core/error.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using keel::core::AtomicFile;
using keel::core::FileLock;
using keel::core::IoError;
using keel::core::LockedError;
using keel::core::MappedFile;
using keel::core::UsageError;
using keel::test::read_text;
using keel::test::run_child;
using keel::test::start_child;
using keel::test::TemporaryFolder;
using keel::test::wait_for;
using keel::test::write_text;

namespace {

size_t entries_in(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

template <class Error, class Body>
std::string error_text(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no such error";
}

}  // namespace

TEST_CASE("atomic file: nothing is there before commit, all of it after", "[core]") {
  const TemporaryFolder folder;
  const auto path = folder / "out.bin";
  {
    AtomicFile file(path);
    file.write("one ");
    file.write("two", 3);
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK(entries_in(folder) == 1);  // the hidden temporary
    CHECK(std::filesystem::directory_iterator(folder.path())->path().filename().string().starts_with(".out.bin."));
    file.commit();
    CHECK(read_text(path) == "one two");
    CHECK_THROWS_AS(file.commit(), std::logic_error);
  }
  CHECK(entries_in(folder) == 1);
  CHECK(read_text(path) == "one two");
}

TEST_CASE("atomic file: without commit the old file stays and nothing remains", "[core]") {
  const TemporaryFolder folder;
  const auto path = folder / "out.bin";
  write_text(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  CHECK(read_text(path) == "old");
  CHECK(entries_in(folder) == 1);
}

TEST_CASE("atomic file: two writers of one path do not meet", "[core]") {
  const TemporaryFolder folder;
  AtomicFile first(folder / "out"), second(folder / "out");
  first.write("first");
  second.write("second");
  second.commit();
  CHECK(read_text(folder / "out") == "second");
  first.commit();
  CHECK(read_text(folder / "out") == "first");
  CHECK(entries_in(folder) == 1);
}

TEST_CASE("atomic file: killed at any moment, the target is the old or the new file whole", "[core]") {
  const TemporaryFolder folder;
  const auto path = folder / "weights";
  const std::string a(1 << 20, 'a'), b(1 << 20, 'b');
  keel::core::write_file(path, a);
  for (int round = 0; round < 8; ++round) {
    const pid_t child = start_child([&] {
      for (;;) {
        keel::core::write_file(path, b);
        keel::core::write_file(path, a);
      }
      return 0;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(5 + 7 * round));
    ::kill(child, SIGKILL);
    CHECK(WIFSIGNALED(wait_for(child)));
    const std::string found = read_text(path);
    CHECK((found == a || found == b));
  }
}

TEST_CASE("atomic file: a file name of the greatest length is written", "[core]") {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  keel::core::write_file(folder / name, "x");
  CHECK(read_text(folder / name) == "x");
}

TEST_CASE("atomic file: a link is written through, /dev/null stays a device", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "target", "old");
  std::filesystem::create_symlink("target", folder / "link");
  keel::core::write_file(folder / "link", "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(read_text(folder / "target") == "new");
  keel::core::write_file("/dev/null", "gone");
  CHECK(std::filesystem::is_character_file("/dev/null"));
}

TEST_CASE("atomic file: a link to nothing yet is written through too, along other links", "[core]") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  std::filesystem::create_symlink("sub/second", folder / "first");
  std::filesystem::create_symlink("../target", folder / "sub/second");
  keel::core::write_file(folder / "first", "new");
  CHECK(std::filesystem::is_symlink(folder / "first"));
  CHECK(std::filesystem::is_symlink(folder / "sub/second"));
  CHECK(read_text(folder / "target") == "new");

  std::filesystem::create_symlink("none/target", folder / "nowhere");
  CHECK_THAT(error_text<UsageError>([&] { keel::core::write_file(folder / "nowhere", "x"); }), ContainsSubstring("none does not exist"));
  std::filesystem::create_symlink("b", folder / "a");
  std::filesystem::create_symlink("a", folder / "b");
  CHECK_THROWS_AS(keel::core::write_file(folder / "a", "x"), IoError);
  CHECK(std::filesystem::is_symlink(folder / "a"));
}

TEST_CASE("atomic file: a full disk is an I/O error that says how much is free", "[core]") {
  CHECK_THAT(error_text<IoError>([] { keel::core::write_file("/dev/full", "x"); }),
             StartsWith("cannot write /dev/full: No space left on device (") && ContainsSubstring("bytes are free in /dev"));
}

TEST_CASE("atomic file: a write that fails half-way leaves nothing behind", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "out", "old");
  const int status = run_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);  // then write() fails with EFBIG
    const rlimit limit{100'000, 100'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      keel::core::write_file(folder / "out", std::string(200'000, 'x'));
    } catch (const IoError&) {
      return 1;
    }
    return 0;
  });
  CHECK(WEXITSTATUS(status) == 1);
  CHECK(read_text(folder / "out") == "old");
  CHECK(entries_in(folder) == 1);
}

TEST_CASE("atomic file: a missing folder and a folder as target are refused", "[core]") {
  const TemporaryFolder folder;
  CHECK_THAT(error_text<UsageError>([&] { AtomicFile(folder / "none/out"); }), ContainsSubstring("does not exist"));
  CHECK_THAT(error_text<UsageError>([&] { AtomicFile(folder.path()); }), ContainsSubstring("it is a folder"));
}

TEST_CASE("files: reading gives the bytes, a missing file is a usage error", "[core]") {
  const TemporaryFolder folder;
  const std::string bytes = std::string("\0\r\n\xFF", 4) + std::string(200'000, 'x');
  keel::core::write_file(folder / "a", bytes);
  CHECK(keel::core::read_file(folder / "a") == bytes);
  CHECK_THROWS_AS(keel::core::read_file(folder / "none"), UsageError);
  CHECK_THROWS_AS(keel::core::read_file(folder / "a/b"), UsageError);
}

TEST_CASE("files: a path that is too long to exist is a usage error", "[core]") {
  const TemporaryFolder folder;
  const std::string name(300, 'n');
  CHECK_THROWS_AS(keel::core::read_file(folder / name), UsageError);
  CHECK_THROWS_AS(keel::core::write_file(folder / name, "x"), UsageError);
}

TEST_CASE("files: a map shows the file, an empty one maps to nothing", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "a", "mapped");
  write_text(folder / "empty", "");
  CHECK(MappedFile(folder / "a").bytes() == "mapped");
  CHECK(MappedFile(folder / "empty").bytes().empty());
  CHECK_THROWS_AS(MappedFile(folder / "none"), UsageError);
  CHECK_THROWS_AS(MappedFile(folder.path()), IoError);
}

TEST_CASE("files: a folder is committed by renaming it", "[core]") {
  const TemporaryFolder folder;
  keel::core::make_directories(folder / "stage.tmp/a/b");
  write_text(folder / "stage.tmp/a/b/c", "x");
  keel::core::commit_directory(folder / "stage.tmp", folder / "stage");
  CHECK_FALSE(std::filesystem::exists(folder / "stage.tmp"));
  CHECK(read_text(folder / "stage/a/b/c") == "x");

  keel::core::make_directories(folder / "stage.tmp");
  CHECK_THROWS_AS(keel::core::commit_directory(folder / "stage.tmp", folder / "stage"), IoError);  // never over a finished one
  CHECK(read_text(folder / "stage/a/b/c") == "x");
  CHECK_THROWS_AS(keel::core::make_directories(folder / "stage/a/b/c/d"), UsageError);
}

TEST_CASE("sha256: the vectors of FIPS 180-4", "[core]") {
  using keel::core::sha256;
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const TemporaryFolder folder;
  write_text(folder / "million", std::string(1'000'000, 'a'));
  CHECK(keel::core::sha256_file(folder / "million") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  CHECK_THROWS_AS(keel::core::sha256_file(folder / "none"), UsageError);
}

TEST_CASE("files: a folder, or a pipe that nobody may ever write, is no file to read", "[core]") {
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(keel::core::read_file(folder.path()), ContainsSubstring("Is a directory"));
  CHECK_THROWS_AS(keel::core::read_file(folder.path()), UsageError);
  CHECK_THROWS_WITH(keel::core::sha256_file(folder.path()), ContainsSubstring("is a folder"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(keel::core::sha256_file(folder / "pipe"), ContainsSubstring("is a pipe"));
}

TEST_CASE("lock: a second process is refused and told who holds it", "[core]") {
  const TemporaryFolder folder;
  const auto path = folder / "run.lock";
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = start_child([&] {
    const FileLock lock(path);
    if (::write(ready[1], "x", 1) != 1) return 1;
    for (;;)
      ::pause();
    return 0;
  });
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  const std::string text = error_text<LockedError>([&] { FileLock lock(path); });
  CHECK_THAT(text, ContainsSubstring("run.lock is held by pid " + std::to_string(child) + " on ") && ContainsSubstring("core_test"));
  ::kill(child, SIGKILL);
  wait_for(child);
  { const FileLock after(path); }  // the kernel dropped it
  { const FileLock again(path); }
  CHECK_THAT(read_text(path), StartsWith("pid " + std::to_string(::getpid()) + " on "));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("lock: one process cannot take it twice", "[core]") {
  const TemporaryFolder folder;
  const FileLock lock(folder / "run.lock");
  CHECK_THROWS_AS(FileLock(folder / "run.lock"), LockedError);
  CHECK_THROWS_AS(FileLock(folder / "none/run.lock"), UsageError);
}

TEST_CASE("output folder: what could not be renamed into place at the end is refused at the beginning", "[core]") {
  const TemporaryFolder folder;
  const std::filesystem::path before = std::filesystem::current_path(), root = std::filesystem::canonical(folder.path());
  std::filesystem::create_directories(folder / "full/inside");
  std::filesystem::create_directory(folder / "empty");
  std::filesystem::create_directory_symlink("empty", folder / "link");
  std::filesystem::create_directory_symlink("gone", folder / "dangling");
  write_text(folder / "file", "x");
  std::filesystem::current_path(folder / "full/inside");
  using keel::core::output_folder;
  CHECK_THROWS_WITH(output_folder(""), ContainsSubstring("empty name"));
  for (const char* name : {".", "./", "..", "../", "/", "../../full", "./."})
    CHECK_THROWS_WITH(output_folder(name), ContainsSubstring("current folder"));
  CHECK_THROWS_WITH(output_folder(folder / "full"), ContainsSubstring("current folder"));
  std::filesystem::current_path(root);
  CHECK_THROWS_WITH(output_folder("full"), ContainsSubstring("not empty"));
  CHECK_THROWS_WITH(output_folder("full/."), ContainsSubstring("not empty"));
  CHECK_THROWS_WITH(output_folder("file"), ContainsSubstring("no folder"));
  CHECK_THROWS_WITH(output_folder("file/x"), ContainsSubstring("file, which is no folder"));
  CHECK_THROWS_WITH(output_folder("file/x/y/"), ContainsSubstring("file, which is no folder"));
  for (const char* name : {"link", "link/", "link/.", "dangling"})
    CHECK_THROWS_WITH(output_folder(name), ContainsSubstring("is a link"));
  for (const char* name : {"new", "new/", "new/.", "./new", "full/../new", "empty/../new"})
    CHECK(output_folder(name) == root / "new");
  CHECK(output_folder("empty") == root / "empty");
  CHECK(output_folder("link/new") == root / "empty/new");
  CHECK(output_folder("a/b/c") == root / "a/b/c");
  CHECK(output_folder(root / "new") == root / "new");
  std::filesystem::current_path(before);
}
