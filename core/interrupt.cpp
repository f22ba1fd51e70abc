// The handler does only what a signal handler may: it sets a flag and prints a line, because the next safe point may take a while.
#include "core/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "core/error.h"

namespace keel::core {
namespace {

std::atomic<bool> interrupt_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void keel_on_interrupt(int signal) {
  if (interrupt_flag.exchange(true)) {  // the second signal ends the process, as the shell expects
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  const int saved = errno;
  static constexpr char kNotice[] = "\nstopping at the next safe point; a second signal ends the process at once\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kNotice, sizeof kNotice - 1);
  errno = saved;
}

}  // namespace

void install_interrupt_handler() {
  struct sigaction action {};
  action.sa_handler = keel_on_interrupt;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is then an I/O error like a full disk
}

bool interrupt_requested() {
  return interrupt_flag.load();
}
void stop_if_interrupted(const std::string& what) {
  if (interrupt_requested()) throw Interrupted(what + " was stopped and keeps nothing of this part; run the same command again");
}
void request_interrupt() {
  interrupt_flag.store(true);
}
void clear_interrupt() {
  interrupt_flag.store(false);
}

}  // namespace keel::core
