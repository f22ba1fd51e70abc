#include "core/interrupt.h"

#include <csignal>

#include "child_process.h"
#include "core/error.h"
#include "support/test_plain.h"

using keel::core::interrupt_requested;

TEST_CASE("interrupt: the flag is set by hand and cleared", "[core]") {
  CHECK_FALSE(interrupt_requested());
  keel::core::request_interrupt();
  CHECK(interrupt_requested());
  CHECK_THROWS_AS(keel::core::stop_if_interrupted("this"), keel::core::Interrupted);
  CHECK_THROWS_WITH(keel::core::stop_if_interrupted("this"), Catch::Matchers::StartsWith("this was stopped"));
  keel::core::clear_interrupt();
  CHECK_NOTHROW(keel::core::stop_if_interrupted("this"));
  CHECK_FALSE(interrupt_requested());
}

TEST_CASE("interrupt: the first signal sets the flag, the second ends the process", "[core]") {
  for (const auto& [first, second] : {std::pair(SIGINT, SIGINT), std::pair(SIGTERM, SIGTERM), std::pair(SIGINT, SIGTERM)}) {
    const int status = keel::test::run_child([first = first, second = second] {
      keel::test::redirect(STDERR_FILENO, "/dev/null");
      keel::core::install_interrupt_handler();
      if (interrupt_requested()) return 1;
      ::raise(first);
      if (!interrupt_requested()) return 2;
      ::raise(second);
      return 3;
    });
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == second);
  }
}

TEST_CASE("interrupt: while signals are held one counts once it is agreed on", "[core]") {
  using namespace keel::core;
  hold_interrupts(true);
  request_interrupt();
  CHECK_FALSE(interrupt_requested());
  agree_on_interrupt(0);
  CHECK_FALSE(interrupt_requested());
  agree_on_interrupt(interrupt_signal());
  CHECK(interrupt_requested());
  hold_interrupts(false);
  clear_interrupt();
  CHECK_FALSE(interrupt_requested());
}

TEST_CASE("interrupt: which signal came can be asked, the notice is the caller's, and a cleared one is forgotten", "[core]") {
  const keel::test::TemporaryFolder folder;
  const int status = keel::test::run_child([&] {
    keel::test::redirect(STDERR_FILENO, folder / "log");
    keel::core::install_interrupt_handler("(stopped)");
    if (keel::core::interrupt_signal() != 0) return 1;
    ::raise(SIGINT);
    if (keel::core::interrupt_signal() != SIGINT) return 2;
    keel::core::clear_interrupt();
    ::raise(SIGTERM);  // the first signal again: the process lives
    return keel::core::interrupt_signal() == SIGTERM ? 0 : 3;
  });
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK(keel::test::read_text(folder / "log") == "(stopped)(stopped)");
}
