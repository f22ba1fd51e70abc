#include "pipelines/cli/talk/terminal_input.h"

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/interrupt.h"

namespace keel::pipelines::cli::talk {

std::optional<std::string> read_line(const std::string& interrupted) {
  static std::string pending;
  for (;;) {
    if (const size_t end = pending.find('\n'); end != std::string::npos) {
      std::string line = pending.substr(0, end);
      pending.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      return line;
    }
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    if (core::interrupt_requested()) throw core::Interrupted(interrupted);
    if (::poll(&input, 1, 100) <= 0) continue;
    char bytes[4096];
    const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (got < 0) continue;
    if (got == 0) {  // a last line without its break counts
      if (pending.empty()) return std::nullopt;
      return std::exchange(pending, {});
    }
    pending.append(bytes, static_cast<size_t>(got));
  }
}

red_team::Terminal red_team_terminal() {
  return {.read = [] { return read_line("stopped; the log holds every turn, and the same command goes on from here"); },
          .print =
              [](const std::string& text) {
                std::fputs(text.c_str(), stdout);
                std::fflush(stdout);
              },
          .clock = [] { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }};
}

}  // namespace keel::pipelines::cli::talk
