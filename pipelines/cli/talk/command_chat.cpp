// keel chat: a dialogue with a model at the terminal.
#include <fmt/format.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/terminal.h"
#include "inference/remote_reward.h"
#include "inference/reward_models.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/talk/chat_session.h"
#include "pipelines/cli/talk/commands.h"

namespace keel::pipelines::cli::talk {
namespace {

struct ChatOptions {
  std::string model, chat, system;
  std::vector<std::string> rewards;
  double gate_threshold = 0;
  inference::RenderPolicy limit;
  policy::SamplingConfig sampling;
  std::vector<std::string> settings;  // fields given by their own option
};

std::vector<ChatScorer> scorers_of(const std::vector<std::string>& folders) {
  for (const auto& folder : folders)
    if (inference::is_remote(folder)) throw core::UsageError(fmt::format("--reward {}: keel chat takes reward models as folders", folder));
  if (folders.size() == 2) inference::check_reward_kinds(folders[0], folders[1]);
  if (folders.size() == 1 && inference::trained_for(folders[0]) == "refusal") inference::check_reward_kinds(folders[0], "");
  std::vector<ChatScorer> scorers;
  for (const auto& folder : folders) {
    const std::string kind = inference::trained_for(folder);
    const std::string place = scorers.empty() ? "helpfulness" : "safety";
    scorers.push_back({.name = !kind.empty()         ? kind
                               : folders.size() == 2 ? place
                                                     : "reward",
                       .model = inference::load_scoring_model(folder)});
    scorers.back().model.limit.drop_oldest_turns = true;  // a long dialogue is scored by its end
  }
  return scorers;
}

void run_chat(const ChatOptions& options, const CLI::App& command, uint64_t seed) {
  if (options.rewards.size() > 2) throw core::UsageError("--reward: give one reward model, or two: helpfulness, then safety");
  if (command.count("--gate-threshold") > 0 && options.rewards.size() < 2)
    throw core::UsageError("--gate-threshold: nothing reads it without two reward models");
  ChatSetup setup{.model = inference::load_language_model(options.model, options.chat),
                  .system = options.system,
                  .sampling = options.sampling,
                  .limit = {},
                  .scorers = scorers_of(options.rewards),
                  .gate = {},
                  .seed = seed,
                  .interactive = ::isatty(STDIN_FILENO) != 0};
  data::check_renderable(setup.model.format, *setup.model.tokenizer);
  setup.limit = common::overridden(command, options.limit, setup.model.limit);
  setup.sampling = common::sampling_within(setup.sampling, setup.limit.max_tokens);
  if (command.count("--gate-threshold") > 0)
    setup.gate = reward::CombinationConfig{.gate_threshold = options.gate_threshold};
  else if (options.rewards.size() == 2)
    setup.gate = inference::recorded_gate(options.rewards[1]);
  if (setup.interactive)
    std::cout << core::harmless(fmt::format("{}: chat format {}, context of {} tokens. ", options.model, data::describe(setup.model.format),
                                            setup.model.llama.config.max_position_embeddings));
  core::install_interrupt_handler("\n");  // Ctrl-C is a part of the dialogue
  chat(setup);
}

}  // namespace

void add_chat(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<ChatOptions>();
  CLI::App* command = app.add_subcommand("chat", "a dialogue with a model at the terminal; without one, each line of the input is a turn");
  command->add_option("model", options->model, "model folder")->required()->type_name("DIR");
  command
      ->add_option("--reward", options->rewards,
                   "reward model folder that scores the answers; twice (helpfulness, then safety): combined with the gate")
      ->type_name("DIR")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--gate-threshold", options->gate_threshold,
                   "gate of the combination; that of combination.json beside the safety model's folder when left out, else 0.15")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--system", options->system, "system turn")->type_name("TEXT");
  common::add_sampling_options(*command, options->sampling, options->settings);
  command->add_option("--chat", options->chat, "chat format instead of the model's own: a name, or a .json file that declares one");
  common::add_base(*command, invocation);
  common::add_render_policy(*command, options->limit, "a longer one is not sent");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, core::fields_of(options->sampling));
  command->callback([options, command, &invocation] {
    invocation.action = [options, command, &invocation] {
      invocation.set.insert(invocation.set.end(), options->settings.begin(), options->settings.end());
      common::configure(core::fields_of(options->sampling), invocation);
      std::vector<std::string> folders = options->rewards;
      folders.push_back(options->model);
      common::use_base(invocation, folders);
      run_chat(*options, *command, invocation.seed);
    };
  });
}

}  // namespace keel::pipelines::cli::talk
