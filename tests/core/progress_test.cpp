#include "core/progress.h"

#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "child_process.h"
#include "core/error.h"
#include "core/log.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::format_duration;
using keel::core::Progress;
using keel::core::progress_line;
using keel::test::run_child;
using keel::test::TemporaryFolder;

TEST_CASE("progress: durations are short", "[core]") {
  CHECK(format_duration(0) == "0s");
  CHECK(format_duration(12.4) == "12s");
  CHECK(format_duration(59.6) == "1m 00s");
  CHECK(format_duration(200) == "3m 20s");
  CHECK(format_duration(3599.7) == "1h 00m");
  CHECK(format_duration(3725) == "1h 02m");
  CHECK(format_duration(100 * 3600.) == "100h 00m");
  CHECK(format_duration(-1) == "0s");
}

TEST_CASE("progress: the rate counts only what this process did", "[core]") {
  // 60 were there before; 20 in 10 s since: 2 a second, the other 20 take 10 s.
  CHECK(progress_line("ppo", "rollouts", 60, 80, 100, 10, "kl 0.01") == "ppo: 80 of 100 rollouts (80 %), 2 rollouts/s, 10s left, kl 0.01");
  CHECK(progress_line("ppo", "rollouts", 0, 100, 100, 10, "") == "ppo: 100 of 100 rollouts (100 %), 10 rollouts/s");
  CHECK(progress_line("sft", "tokens", 0, 123'456, 1'000'000, 10, "") ==
        "sft: 123456 of 1000000 tokens (12 %), 12346 tokens/s, 1m 11s left");
  CHECK(progress_line("x", "rows", 0, 0, 0, 0, "") == "x: 0 of 0 rows");  // nothing to divide by
  CHECK(progress_line("x", "rows", 5, 5, 9, 3, "") == "x: 5 of 9 rows (55 %)");
}

TEST_CASE("progress: short work prints nothing to a file", "[core]") {
  const TemporaryFolder folder;
  const int status = run_child([&] {
    keel::test::redirect(STDERR_FILENO, folder / "log");
    Progress progress("sft", 1000, "steps");
    for (int i = 0; i <= 1000; ++i)
      progress.update(i);
    return 0;
  });
  CHECK(status == 0);
  CHECK(keel::test::read_text(folder / "log").empty());
}

TEST_CASE("progress: a terminal sees one line rewritten, at most four times a second", "[core]") {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) SKIP("no pseudo-terminals here");
  const std::string name = ::ptsname(terminal);
  const int keep_open = ::open(name.c_str(), O_RDWR | O_NOCTTY);  // else the master reads an error once the child is gone
  const auto begin = std::chrono::steady_clock::now();
  const int status = run_child([&] {
    keel::test::redirect(STDERR_FILENO, name);
    Progress progress("sft", 1000, "steps");
    std::this_thread::sleep_for(std::chrono::milliseconds(260));
    for (int i = 0; i < 500; ++i)
      progress.update(i);
    progress.update(1000, "loss 1.5");
    progress.update(1000, "again");
    return 0;
  });
  const auto quarters = (std::chrono::steady_clock::now() - begin) / std::chrono::milliseconds(250);
  CHECK(status == 0);
  std::string text;  // the terminal hands on what was written piece by piece, and may be late
  for (pollfd ready{terminal, POLLIN, 0}; !text.ends_with("\n") && ::poll(&ready, 1, 10'000) == 1;) {
    char bytes[4096];
    const ssize_t count = ::read(terminal, bytes, sizeof bytes);
    if (count <= 0) break;
    text.append(bytes, static_cast<size_t>(count));
  }
  ::close(keep_open);
  ::close(terminal);
  CHECK(text.starts_with("\r\x1b[Ksft: 0 of 1000 steps (0 %)"));
  CHECK_THAT(text, ContainsSubstring("\r\x1b[Ksft: 1000 of 1000 steps (100 %)") && ContainsSubstring("loss 1.5"));
  CHECK(std::count(text.begin(), text.end(), '\x1b') <= quarters + 1);  // 500 updates: one line each quarter of a second, and the last
  CHECK(text.ends_with("\n"));
}

TEST_CASE("log: messages below the level are left out, the others go to standard error as they are", "[core]") {
  const TemporaryFolder folder;
  const int status = run_child([&] {
    keel::test::redirect(STDOUT_FILENO, folder / "out");
    keel::test::redirect(STDERR_FILENO, folder / "err");
    keel::core::log_debug("hidden");
    keel::core::log_info("100 % {} of {0}");
    keel::core::set_log_level("error");
    keel::core::log_warn("hidden");
    keel::core::log_error("broken");
    keel::core::set_log_level("off");
    keel::core::log_error("hidden");
    keel::core::set_log_level("debug");
    keel::core::log_debug("small print");
    return 0;
  });
  CHECK(status == 0);
  CHECK(keel::test::read_text(folder / "out").empty());
  const std::string text = keel::test::read_text(folder / "err");
  CHECK_THAT(
      text, ContainsSubstring("info 100 % {} of {0}\n") && ContainsSubstring("error broken\n") && ContainsSubstring("debug small print\n"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 3);
  CHECK_THROWS_AS(keel::core::set_log_level("loud"), keel::core::UsageError);
}

TEST_CASE("progress: long work publishes its line for other processes, short work and finished work none", "[core]") {
  using keel::core::published_progress;
  const TemporaryFolder folder;
  const auto file = folder / ".progress.json";
  keel::test::write_text(file, R"({"label": "of an earlier attempt")");
  CHECK_FALSE(published_progress(file));  // cut off by a kill
  keel::core::publish_progress(file);
  CHECK_FALSE(std::filesystem::exists(file));
  {
    Progress progress("sft", 100, "steps", 20);
    progress.update(21);
    CHECK_FALSE(std::filesystem::exists(file));
    std::this_thread::sleep_for(std::chrono::milliseconds(1050));
    progress.update(40, "loss 2.5");
    const auto line = published_progress(file);
    REQUIRE(line);
    CHECK_THAT(*line, ContainsSubstring("sft: 40 of 100 steps (40 %), ") && ContainsSubstring(" left, loss 2.5"));
  }
  CHECK_FALSE(std::filesystem::exists(file));
  keel::core::publish_progress({});
  Progress other("x", 10, "rows");
  std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  other.update(1);
  CHECK_FALSE(std::filesystem::exists(file));
}
