// Commands about a run and what lies on the disk: run it, watch it, explain it, compare it, look at any file of it.
#pragma once

namespace CLI {
class App;
}

namespace keel::pipelines::cli::common {
struct Invocation;
}

namespace keel::pipelines::cli::runs {

void add_run_commands(CLI::App& app, common::Invocation& invocation);  // run, status, explain, report
void add_plan(CLI::App& app, common::Invocation& invocation);
void add_ablate(CLI::App& app, common::Invocation& invocation);
void add_lineage_commands(CLI::App& app, common::Invocation& invocation);  // lineage, diff, prune
void add_inspect(CLI::App& app, common::Invocation& invocation);
void add_init(CLI::App& app, common::Invocation& invocation);

}  // namespace keel::pipelines::cli::runs
