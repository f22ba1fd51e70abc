// SIGINT and SIGTERM ask long work to stop at its next safe point. A second signal ends the process at once.
#pragma once

#include <string>

namespace keel::core {

void install_interrupt_handler();
bool interrupt_requested();

// For work that saves no partial results. Throws Interrupted, "WHAT was stopped; ...", once a signal has come.
void stop_if_interrupted(const std::string& what);

void request_interrupt();  // what the handler does; tests call it
void clear_interrupt();

}  // namespace keel::core
