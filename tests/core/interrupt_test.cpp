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
