// Commands in which somebody talks with a model: a person, or the red team.
#pragma once

namespace CLI {
class App;
}

namespace keel::pipelines::cli::common {
struct Invocation;
}

namespace keel::pipelines::cli::talk {

void add_chat(CLI::App& app, common::Invocation& invocation);
void add_redteam(CLI::App& app, common::Invocation& invocation);  // try, rate, auto, replay, report, export

}  // namespace keel::pipelines::cli::talk
