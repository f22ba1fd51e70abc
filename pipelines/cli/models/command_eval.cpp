// keel eval: measures of models and of rated answers, one command each.
#include <CLI/CLI.hpp>

#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"

namespace keel::pipelines::cli::models {

void add_eval_commands(CLI::App& app, common::Invocation& invocation) {
  CLI::App* group = app.add_subcommand("eval", "measures of models and of rated answers");
  group->require_subcommand(1);
  add_eval_gatt(*group, invocation);
  add_eval_refusals(*group, invocation);
  add_eval_safety(*group, invocation);
}

}  // namespace keel::pipelines::cli::models
