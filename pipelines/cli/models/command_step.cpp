// Commands that run one step of the recipe by itself (keel sft, keel ppo ...), with the same settings as in a recipe. Each is made from the
// step's own description; a new one is a line in add_step_commands().
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "pipelines/measurement/commands.h"
#include "pipelines/stages/commands.h"
#include "pipelines/steps/alone.h"

namespace keel::pipelines::cli::models {
namespace {

// A given option that sets a field: --max-tokens 512 is --set limit.max_tokens=512, and wins over it.
struct GivenSetting {
  std::string flag, setting;
};

// The option values of one command.
struct StepOptions {
  std::vector<std::vector<std::string>> paths;  // of each role
  std::vector<GivenSetting> settings;
  std::string out;
};

std::string flag_of(std::string role) {
  std::replace(role.begin(), role.end(), '_', '-');
  return "--" + role;
}

void add_role(CLI::App& command, const steps::Role& role, std::vector<std::string>& paths) {
  using Kind = steps::Role::Kind;
  CLI::Option* option = command.add_option(flag_of(role.name), paths, role.help)
                            ->type_name(role.kind == Kind::folder ? "DIR"
                                        : role.kind == Kind::file ? "FILE"
                                                                  : "PATH")
                            ->expected(1);
  if (role.required) option->required();
  if (role.repeats)
    option->take_all();
  else
    option->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}

void add_setting(CLI::App& command, const steps::Option& setting, const core::Fields& fields, std::vector<GivenSetting>& settings) {
  const auto& list = fields.list();
  const auto field = std::find_if(list.begin(), list.end(), [&](const core::Field& one) { return one.name == setting.field; });
  const auto given = [&settings, setting](const std::string& value) { settings.push_back({setting.flag, setting.field + "=" + value}); };
  if (std::holds_alternative<bool*>(field->value)) {
    command.add_flag_callback(
        setting.flag, [given] { given("true"); }, field->help);
    return;
  }
  command.add_option_function<std::string>(setting.flag, given, field->help)
      ->type_name(std::holds_alternative<std::string*>(field->value) ? "TEXT" : "NUMBER");
}

void assign(const core::Fields& fields, const std::vector<GivenSetting>& settings) {
  std::vector<std::string> problems;
  for (const auto& [flag, setting] : settings) {
    std::vector<std::string> of_setting;
    core::assign_setting(fields, setting, of_setting);
    core::add_problems(problems, flag + ": ", of_setting);
  }
  core::throw_if_any(std::move(problems));
}

void add_step(CLI::App& parent, const steps::Command& step, common::Invocation& invocation) {
  const auto options = std::make_shared<StepOptions>();
  const auto draft = std::make_shared<steps::Draft>(step.draft());
  CLI::App* command = parent.add_subcommand(step.name.substr(step.name.rfind(' ') + 1), step.help);
  options->paths.resize(step.roles.size());
  for (size_t i = 0; i < step.roles.size(); ++i)
    add_role(*command, step.roles[i], options->paths[i]);
  for (const auto& option : step.options)
    add_setting(*command, option, draft->fields, options->settings);
  const bool models = std::ranges::any_of(step.roles, [](const steps::Role& role) { return role.kind == steps::Role::Kind::folder; });
  if (models) common::add_base(*command, invocation);
  command->add_option("--out", options->out, step.result)->required()->type_name(step.file.empty() ? "DIR" : "FILE");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, draft->fields);
  command->callback([=, &invocation] {
    invocation.ranks = true;
    invocation.action = [=, &invocation] {
      common::configure(draft->fields, invocation);
      std::vector<std::string> read;
      for (const auto& paths : options->paths)
        read.insert(read.end(), paths.begin(), paths.end());
      common::use_base(invocation, read);
      if (!step.file.empty()) common::check_output(options->out, read);
      assign(draft->fields, options->settings);
      steps::Inputs inputs;
      for (size_t i = 0; i < step.roles.size(); ++i)
        for (const auto& path : options->paths[i])
          if (!path.empty()) inputs.push_back({step.roles[i].name, steps::from_outside(step.roles[i].name, path)});
      steps::run_alone(draft->step(inputs), {.out = options->out,
                                             .file = step.file,
                                             .seed = invocation.seed,
                                             .threads = invocation.threads,
                                             .device = invocation.device,
                                             .precision = invocation.precision});
    };
  });
}

}  // namespace

void add_step_commands(CLI::App& app, common::Invocation& invocation) {
  CLI::App* reward = app.add_subcommand("reward", "reward models: reward train, reward eval, reward stats");
  reward->require_subcommand(1);
  add_step(app, stages::pretrain_command(), invocation);
  add_step(app, stages::sft_command(), invocation);
  add_step(*reward, stages::reward_command(), invocation);
  CLI::App* refusal = app.add_subcommand("refusal", "classifiers of refusals: refusal train");
  refusal->require_subcommand(1);
  add_step(*refusal, stages::refusal_command(), invocation);
  add_step(app, stages::rejection_command(), invocation);
  add_step(app, stages::ppo_command(), invocation);
  add_step(app, stages::gatt_command(), invocation);
  add_step(app, stages::distill_command(), invocation);
  add_reward_eval(*reward, invocation);
  add_reward_stats(*reward, invocation);
}

void add_eval_gatt(CLI::App& group, common::Invocation& invocation) {
  add_step(group, measurement::gatt_evaluation_command(), invocation);
}

}  // namespace keel::pipelines::cli::models
