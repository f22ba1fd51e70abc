// A run as it goes on.
#pragma once

#include <functional>

#include "pipelines/cli/runs/runs.h"

namespace keel::pipelines::cli::runs {

// Looks every `seconds` until the run has ended, or a signal has come; a run that has not begun, or that no process works on, is waited for
// unless all of it is done. On a terminal the table is drawn again in its place, elsewhere each change is a line.
void watch(const std::function<RunView()>& look, double seconds);

}  // namespace keel::pipelines::cli::runs
