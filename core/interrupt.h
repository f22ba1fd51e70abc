// SIGINT and SIGTERM ask long work to stop at its next safe point. A second signal ends the process at once.
#pragma once

namespace keel::core {

void install_interrupt_handler();
bool interrupt_requested();
void request_interrupt();  // what the handler does; tests call it
void clear_interrupt();

}  // namespace keel::core
