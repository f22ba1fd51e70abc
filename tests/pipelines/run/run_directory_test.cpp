#include "pipelines/run/run_directory.h"

#include <poll.h>

#include <algorithm>

#include "core/error.h"
#include "pipelines/run/toy_run.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using keel::test::read_text;
using keel::test::write_text;

const RunRecord kToyRecord = {"toy", "0.1.0", R"({"seed":1})"};

void begin_in(const fs::path& root, const RunRecord& record = kToyRecord) {
  RunDirectory(root).begin(record);
}

// A child that holds the lock of `root` until it is released.
class LockHolder {
 public:
  explicit LockHolder(const fs::path& root) {
    int ready[2], release[2];
    if (pipe(ready) != 0 || pipe(release) != 0) throw std::runtime_error("pipe failed");
    child_ = fork();
    if (child_ == 0) {
      close(release[1]);
      RunDirectory run(root);
      run.begin(kToyRecord);
      char byte = 'x';
      if (write(ready[1], &byte, 1) == 1) (void)!read(release[0], &byte, 1);  // returns when the parent closes its end
      _exit(0);
    }
    close(ready[1]);
    close(release[0]);
    char byte;
    if (read(ready[0], &byte, 1) != 1) throw std::runtime_error("the child did not get the lock");
    close(ready[0]);
    release_ = release[1];
  }
  ~LockHolder() {
    close(release_);
    waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_ = 0;
  int release_ = -1;
};

}  // namespace

TEST_CASE("run directory: a missing or empty folder becomes a run", "[pipelines]") {
  const test::TemporaryFolder folder;
  const fs::path root = folder / GENERATE(as<std::string>(), "", "deep/er");
  CHECK_FALSE(RunDirectory(root).record().has_value());
  begin_in(root);
  const auto record = RunDirectory(root).record();
  REQUIRE(record.has_value());
  CHECK(record->recipe == "toy");
  CHECK(record->version == "0.1.0");
  CHECK(record->config == R"({"seed":1})");
  begin_in(root, {"toy", "0.2.0", R"({"seed":2})"});  // a changed recipe of the same name
  CHECK(RunDirectory(root).record()->config == R"({"seed":2})");
}

TEST_CASE("run directory: folders that hold something else are refused and left as they are", "[pipelines]") {
  const test::TemporaryFolder folder;
  fs::create_directories(folder / "thesis");
  write_text(folder / "thesis" / "chapter.tex", "x");
  CHECK_THROWS_AS(begin_in(folder / "thesis"), core::UsageError);
  CHECK_THROWS_WITH(begin_in(folder / "thesis"),
                    ContainsSubstring("chapter.tex") && ContainsSubstring("choose another or an empty folder"));
  CHECK(std::distance(fs::directory_iterator(folder / "thesis"), {}) == 1);

  CHECK_THROWS_WITH(begin_in(folder / "thesis" / "chapter.tex"), ContainsSubstring("is not a folder"));

  begin_in(folder / "run");
  CHECK_THROWS_AS(begin_in(folder / "run", {"hh", "0.1.0", "{}"}), core::UsageError);
  CHECK_THROWS_WITH(begin_in(folder / "run", {"hh", "0.1.0", "{}"}), ContainsSubstring("recipe 'toy', not of 'hh'"));
  CHECK(RunDirectory(folder / "run").record()->recipe == "toy");

  write_text(folder / "run" / "run.json", R"({"name": "some other program's"})");
  CHECK_THROWS_AS(begin_in(folder / "run"), core::UsageError);
  write_text(folder / "run" / "run.json", R"({"recipe": )");
  CHECK_THROWS_AS(begin_in(folder / "run"), core::DataError);
}

TEST_CASE("run directory: a folder that cannot be created is an error that names it", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_text(folder / "file", "x");
  CHECK_THROWS_AS(begin_in(folder / "file" / "run"), core::Error);
  CHECK_THROWS_WITH(begin_in(folder / "file" / "run"), ContainsSubstring((folder / "file").string()));
}

TEST_CASE("run directory: what a kill before run.json leaves is no foreign folder", "[pipelines]") {
  const test::TemporaryFolder folder;
  write_text(folder / "run.lock", "pid 1");
  write_text(folder / ".run.json.1-0.tmp", "{");
  begin_in(folder.path());
  CHECK(RunDirectory(folder.path()).record()->recipe == "toy");
}

TEST_CASE("run directory: a second process is locked out, and status still reads", "[pipelines]") {
  const test::TemporaryFolder folder;
  {
    const LockHolder holder(folder.path());
    CHECK(RunDirectory(folder.path()).running());
    CHECK(RunDirectory(folder.path()).record()->recipe == "toy");
    CHECK_THROWS_AS(begin_in(folder.path()), core::LockedError);
  }
  CHECK_FALSE(RunDirectory(folder.path()).running());
  CHECK_NOTHROW(begin_in(folder.path()));
}

TEST_CASE("run directory: of processes that begin at the same moment one wins", "[pipelines]") {
  const test::TemporaryFolder folder;
  int release[2];  // the winner keeps the lock until the parent closes this pipe, after all others have tried
  REQUIRE(pipe(release) == 0);
  const auto begin_and_hold = [&] {
    close(release[1]);
    RunDirectory run(folder / "run");
    run.begin(kToyRecord);
    pollfd closed = {.fd = release[0], .events = POLLIN, .revents = 0};
    poll(&closed, 1, 20'000);
  };
  for (int i = 0; i < 4; ++i)
    test::start_child("", begin_and_hold);
  std::vector<int> codes;
  for (int i = 0; i < 3; ++i)
    codes.push_back(test::wait_for(-1));
  close(release[1]);
  codes.push_back(test::wait_for(-1));
  close(release[0]);
  CHECK(std::count(codes.begin(), codes.end(), 0) == 1);
  CHECK(std::count(codes.begin(), codes.end(), static_cast<int>(core::Exit::locked)) == 3);
}

TEST_CASE("run directory: a torn last line of the journal is cut, whole ones stay", "[pipelines]") {
  const test::TemporaryFolder folder;
  {
    RunDirectory run(folder.path());
    run.begin(kToyRecord);
    run.append_event("started", "sft", R"({"threads":2})");
  }
  const std::string whole = read_text(folder / "events.jsonl");
  write_text(folder / "events.jsonl", whole + R"({"event":"comm)");
  RunDirectory run(folder.path());
  run.begin(kToyRecord);
  CHECK(read_text(folder / "events.jsonl") == whole);
  run.append_event("failed", "sft", R"({"reason":"a \"quoted\"\nreason"})");
  const auto events = test::events_in(folder.path());
  REQUIRE(events.size() == 2);
  CHECK(events[0].at("event") == "started");
  CHECK(events[0].at("threads") == 2);
  CHECK_THAT(events[0].at("time").get<std::string>(), Catch::Matchers::Matches(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"));
  CHECK(events[1].at("reason") == "a \"quoted\"\nreason");
}

TEST_CASE("run directory: current follows finished folders only", "[pipelines]") {
  const test::TemporaryFolder folder;
  RunDirectory run(folder.path());
  const std::string a(64, 'a'), b(64, 'b');
  CHECK_FALSE(run.current("sft").has_value());
  for (const auto& key : {a, b}) {
    fs::create_directories(run.committed_folder("sft", key));
    write_text(run.committed_folder("sft", key) / "manifest.json", "{}");
  }
  write_text(run.stage_folder("sft") / ".current", "left by a kill");
  run.set_current("sft", a);
  CHECK(run.current("sft") == run.committed_folder("sft", a));
  run.set_current("sft", b);
  run.set_current("sft", b);
  CHECK(run.current("sft") == run.committed_folder("sft", b));
  CHECK(fs::read_symlink(run.stage_folder("sft") / "current") == "bbbbbbbbbbbb");  // relative: the run can be moved
  fs::remove_all(run.committed_folder("sft", b));
  CHECK_FALSE(run.current("sft").has_value());
  run.set_current("sft", a);
  CHECK(run.current("sft") == run.committed_folder("sft", a));
}

}  // namespace keel::pipelines::run
