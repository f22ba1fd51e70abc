// The handler does only what a signal handler may: it sets a flag and prints a line, because the next safe point may take a while.
#include "core/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "core/error.h"

namespace keel::core {
namespace {

std::atomic<int> interrupting{0};  // the signal
std::atomic<int> agreed{0};        // the signal that counts while they are held
std::atomic<bool> holding{false};
static_assert(std::atomic<int>::is_always_lock_free);
std::string_view notice_text = kInterruptNotice;  // set before the handler is

extern "C" void keel_on_interrupt(int signal) {
  if (interrupting.exchange(signal) != 0) {  // the second signal ends the process, as the shell expects
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  const int saved = errno;
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, notice_text.data(), notice_text.size());
  errno = saved;
}

}  // namespace

void install_interrupt_handler(std::string_view notice) {
  notice_text = notice;
  struct sigaction action {};
  action.sa_handler = keel_on_interrupt;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is then an I/O error like a full disk
}

bool interrupt_requested() {
  return agreed.load() != 0 || (!holding.load() && interrupting.load() != 0);
}
int interrupt_signal() {
  return interrupting.load();
}
void stop_if_interrupted(const std::string& what) {
  if (interrupt_requested()) throw Interrupted(what + " was stopped and keeps nothing of this part; run the same command again");
}
void hold_interrupts(bool held) {
  holding.store(held);
}
void agree_on_interrupt(int signal) {
  if (signal != 0) agreed.store(signal);
}
void request_interrupt() {
  interrupting.store(SIGINT);
}
void clear_interrupt() {
  interrupting.store(0);
  agreed.store(0);
}

}  // namespace keel::core
