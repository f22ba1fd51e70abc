// SIGINT and SIGTERM ask long work to stop at its next safe point. A second signal ends the process at once.
#pragma once

#include <string>
#include <string_view>

namespace keel::core {

inline constexpr std::string_view kInterruptNotice = "\nstopping at the next safe point; a second signal ends the process at once\n";

// `notice` goes to standard error at the first signal; its characters must live as long as the process.
void install_interrupt_handler(std::string_view notice = kInterruptNotice);
bool interrupt_requested();
int interrupt_signal();  // the signal that has come: SIGINT, SIGTERM; 0 = none

// For work that saves no partial results. Throws Interrupted, "WHAT was stopped; ...", once a signal has come.
void stop_if_interrupted(const std::string& what);

// For processes that compute one thing together and must stop at the same point: while signals are held, one that came to this process
// counts only once agree_on_interrupt() has been told of it (0: of none).
void hold_interrupts(bool held);
void agree_on_interrupt(int signal);

void request_interrupt();  // what the handler does at SIGINT; tests call it
void clear_interrupt();

}  // namespace keel::core
