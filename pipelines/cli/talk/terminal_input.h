// What people type.
#pragma once

#include <optional>
#include <string>

#include "red_team/terminal.h"

namespace keel::pipelines::cli::talk {

// The next line of standard input without its break; nothing at the end. Once a signal has come it throws core::Interrupted(`interrupted`):
// it reads the descriptor itself, so that Ctrl-C stops at once.
std::optional<std::string> read_line(const std::string& interrupted);

// Standard input, standard output and the time, for the red team.
red_team::Terminal red_team_terminal();

}  // namespace keel::pipelines::cli::talk
