// keel eval: measures of answers in files.
#include <CLI/CLI.hpp>

#include "pipelines/cli/commands.h"

namespace keel::pipelines::cli {

void add_eval_commands(CLI::App& app, Invocation& invocation) {
  CLI::App* group = app.add_subcommand("eval", "measures of answers in files: eval refusals");
  group->require_subcommand(1);
  add_eval_refusals(*group, invocation);
}

}  // namespace keel::pipelines::cli
