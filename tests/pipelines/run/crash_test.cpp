// A run killed at any step of its commits, or in the middle of a stage, ends with the bytes of an undisturbed run.
#include <sys/resource.h>

#include <csignal>

#include "pipelines/run/toy_run.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
using keel::test::committed_bytes;
using keel::test::run_toy;
using keel::test::start_child;
using keel::test::take_trace;
using keel::test::Toy;
using keel::test::wait_for;

}  // namespace

TEST_CASE("crash: killed at any step of any stage, the same command ends in the same bytes", "[pipelines]") {
  const test::TemporaryFolder folder;
  Toy toy;
  toy.trace = folder / "trace";
  run_toy(folder / "whole", toy);
  const auto expected = committed_bytes(folder / "whole");
  const auto everything = take_trace(toy).size();
  REQUIRE(expected.size() == 3);

  const std::vector<std::string> points = {
      "stage.started:2",       "commit.begin:2",         "commit.hashed:2", "commit.manifest:2",     "commit.before_rename:2",
      "commit.after_rename:2", "commit.after_current:2", "commit.hashed:1", "commit.after_rename:3", "toy.step:3"};
  for (const auto& point : points) {
    INFO("killed at " << point);
    const fs::path root = folder / point;
    CHECK(wait_for(start_child(point, [&] { run_toy(root, toy); })) == -SIGKILL);
    run_toy(root, toy);
    CHECK(committed_bytes(root) == expected);
    const size_t computed = take_trace(toy).size();
    // No finished stage is computed again: only a kill between a stage's last line and its manifest repeats that stage, and `sums` then
    // finds its last checkpoint.
    const bool repeats = point.starts_with("commit.begin") || point.starts_with("commit.hashed");
    CHECK(computed == everything + (repeats && !point.ends_with(":2") ? 1 : 0));
    run_toy(root, toy);
    CHECK(take_trace(toy).empty());
    for (const auto& event : test::events_in(root))
      CHECK(event.contains("time"));
  }
}

TEST_CASE("crash: killed again and again, a run still gets to its end", "[pipelines]") {
  const test::TemporaryFolder folder;
  Toy toy;
  toy.trace = folder / "trace";
  run_toy(folder / "whole", toy);
  int kills = 0;
  for (const char* point :
       {"commit.begin", "commit.manifest", "commit.before_rename", "commit.after_rename", "toy.step", "toy.step", "toy.step",
        "commit.hashed", "commit.manifest", "commit.after_current", "stage.started", "commit.before_rename"}) {
    kills += wait_for(start_child(point, [&] { run_toy(folder / "run", toy); })) == -SIGKILL ? 1 : 0;
  }
  CHECK(kills == 12);
  run_toy(folder / "run", toy);
  CHECK(committed_bytes(folder / "run") == committed_bytes(folder / "whole"));
}

TEST_CASE("crash: obsolete work that a kill left half-deleted is never continued", "[pipelines]") {
  const test::TemporaryFolder folder;
  Toy toy;
  toy.trace = folder / "trace";
  run_toy(folder / "whole", toy);
  const fs::path root = folder / "run";
  CHECK(wait_for(start_child("toy.step:2", [&] { run_toy(root, toy); })) == -SIGKILL);
  Toy other = toy;
  other.factor = 5;
  CHECK(wait_for(start_child("prune.renamed", [&] { run_toy(root, other); })) == -SIGKILL);
  take_trace(toy);
  run_toy(root, toy);
  CHECK(take_trace(toy).size() == 5);  // four steps from the beginning, and the summary
  CHECK(committed_bytes(root).at("stages/sums/" + RunDirectory(root).current("sums")->filename().string() + "/sums.txt") == "246\n");
  for (const auto& entry : fs::directory_iterator(root / "stages" / "sums")) {
    CHECK_FALSE(entry.path().filename().string().starts_with(".trash"));
  }
}

TEST_CASE("crash: a commit that the disk refuses is an I/O error, and the run goes on once it can", "[pipelines]") {
  const test::TemporaryFolder folder;
  Toy toy;
  toy.trace = folder / "trace";
  const auto work_with_small_files = [&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {.rlim_cur = 700, .rlim_max = 700};  // bytes a file: too little for a manifest
    setrlimit(RLIMIT_FSIZE, &limit);
    run_toy(folder / "run", toy);
  };
  CHECK(wait_for(start_child("", work_with_small_files)) == static_cast<int>(core::Exit::io));
  CHECK(take_trace(toy) == std::vector<std::string>{"numbers"});
  run_toy(folder / "run", toy);
  run_toy(folder / "whole", toy);
  CHECK(committed_bytes(folder / "run") == committed_bytes(folder / "whole"));
}

}  // namespace keel::pipelines::run
