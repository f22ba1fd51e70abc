// What the commands of the `keel` binary share. A command's add_NAME() adds its options to the command line and stores what to do in
// Invocation::action.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "inference/prompts.h"
#include "policy/generate.h"

namespace CLI {
class App;
}

namespace keel::pipelines::cli::common {

// What every command shares, and the action that the parsed command line asks for.
struct Invocation {
  std::string config;            // --config FILE
  std::vector<std::string> set;  // --set key=value, repeated
  std::string device = "cpu", precision = "fp32";
  bool device_given = false, precision_given = false;
  int threads = 0;  // 0 = all cores
  bool threads_given = false;
  uint64_t seed = 1;
  bool seed_given = false;
  std::string log_level = "info";
  std::string base;    // --base DIR
  bool ranks = false;  // the command can be computed by several (runtime/dist/ranks.h)
  std::function<void()> action;
};

void add_common_options(CLI::App& command, Invocation& invocation);

// Fills `fields` from --config and --set, all problems at once. A command without fields passes none, so that any setting is refused.
void configure(const core::Fields& fields, const Invocation& invocation);

// --base DIR, for commands that read model folders, and what they do with it before they read one: UsageError where it is given and none of
// `folders` is an adapter.
void add_base(CLI::App& command, Invocation& invocation);
void use_base(const Invocation& invocation, const std::vector<std::string>& folders);

// UsageError when `out` ("" = standard output) would replace a file that the command reads, or lies in a finished result.
void check_output(const std::string& out, const std::vector<std::string>& inputs);

// --max-tokens, --drop-oldest-turns or --keep-turns, --allow-tags. `fate`: what becomes of a longer dialogue, for --help.
void add_render_policy(CLI::App& command, inference::RenderPolicy& policy, const std::string& fate);

// A model folder's own limit, overridden by those of the three options that were given.
inference::RenderPolicy overridden(const CLI::App& command, const inference::RenderPolicy& given, inference::RenderPolicy limit);

// --temperature, --top-p, --max-new-tokens. Those that are given go into `settings` as key=value: they win over --config and --set.
void add_sampling_options(CLI::App& command, policy::SamplingConfig& sampling, std::vector<std::string>& settings);

// `sampling`, whose default of max_new_tokens becomes half of `max_tokens` (0: no limit) where it would leave no room for a prompt.
policy::SamplingConfig sampling_within(policy::SamplingConfig sampling, int64_t max_tokens);

// Adds the help of every field below the options.
void describe_fields(CLI::App& command, const core::Fields& fields, const std::string& heading = "Fields of --config and --set");

// The names of those fields; none for a command without.
std::vector<std::string> setting_names(const CLI::App& command);

}  // namespace keel::pipelines::cli::common
