// A run's folder as commands see it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pipelines/cli/common/options.h"
#include "pipelines/recipe/recipe.h"
#include "pipelines/run/stage_runner.h"

namespace keel::pipelines::cli::runs {

run::RunOptions options_for(const recipe::Recipe& recipe, const common::Invocation& invocation);

// Of a recorded run: with its own device and precision, unless the command line names others.
run::RunOptions options_of(const run::RunDirectory& run, const recipe::Recipe& recipe, const common::Invocation& invocation);

// The recipe that run.json holds, with the fields of `overlay` (a file; "" = none) and `settings` (key=value) applied.
recipe::Recipe recorded_recipe(const run::RunDirectory& run, const std::string& overlay = {},
                               const std::vector<std::string>& settings = {});

// The stages of a finished or begun run.
std::vector<run::Stage> recorded_stages(const run::RunDirectory& run, const recipe::Recipe& recipe, bool verify = false);

// What is known of a run at one moment.
struct RunView {
  std::vector<run::StageStatus> stages;      // empty before the run has begun
  bool running = false;                      // a process works on it
  std::string working = {};                  // the stage that it works on; "" where none is known
  std::optional<std::string> progress = {};  // its line, as the process itself prints it
};

// The run in `folder` as it is now, outputs compared as `check` says.
RunView view_of(const std::string& folder, run::OutputCheck check, const common::Invocation& invocation);

// Lines of a table, a line a stage.
std::vector<std::string> status_lines(const RunView& view);

// The word for a stage's state: "running", or as run::state_name().
std::string state_of(const RunView& view, const run::StageStatus& stage);

}  // namespace keel::pipelines::cli::runs
