// keel serve: reward models behind HTTP.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <set>

#include "core/error.h"
#include "inference/reward_models.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "serve/run.h"

namespace keel::pipelines::cli::models {
namespace {

struct ServeOptions {
  std::vector<std::string> rewards, policies;
  std::string combine, base;
  double gate = 0;
  serve::RunConfig run;
};

// NAME=DIR, or DIR for the name "reward". Names come back in paths, logs and metrics.
serve::NamedFolder named_folder(const std::string& given, const char* option, const char* otherwise) {
  const size_t equals = given.find('=');
  serve::NamedFolder named{.name = equals == std::string::npos ? otherwise : given.substr(0, equals),
                           .folder = equals == std::string::npos ? given : given.substr(equals + 1)};
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '/';
  };
  if (named.name.empty() || !std::ranges::all_of(named.name, plain))
    throw core::UsageError(fmt::format("{} {}: a name is made of letters, digits, - _ . and /", option, given));
  if (named.name == serve::kCombined) throw core::UsageError(fmt::format("{} {}: this name is that of --combine", option, given));
  return named;
}

std::vector<serve::NamedFolder> named_folders(const std::vector<std::string>& given, const char* option, const char* otherwise) {
  std::vector<serve::NamedFolder> folders;
  std::set<std::string> names;
  for (const auto& one : given) {
    folders.push_back(named_folder(one, option, otherwise));
    if (!names.insert(folders.back().name).second) throw core::UsageError(fmt::format("{} {}: this name is given twice", option, one));
  }
  return folders;
}

void run_serve(ServeOptions& options, const CLI::App& command) {
  serve::ModelsConfig& models = options.run.models;
  models.rewards = named_folders(options.rewards, "--reward", "reward");
  models.policies = named_folders(options.policies, "--policy", "policy");
  models.base = options.base;
  models.combined = !options.combine.empty();
  if (command.count("--gate-threshold") > 0) {
    if (!models.combined) throw core::UsageError("--gate-threshold: nothing reads it without --combine llama2");
    models.gate = options.gate;
  }
  const auto folder_of = [&](const std::string& name) -> std::filesystem::path {
    for (const auto& named : models.rewards)
      if (named.name == name) return named.folder;
    return {};
  };
  if (models.combined && (folder_of("helpfulness").empty() || folder_of("safety").empty()))
    throw core::UsageError("--combine llama2 needs --reward helpfulness=DIR and --reward safety=DIR");
  inference::check_reward_kinds(folder_of("helpfulness"), folder_of("safety"));
  serve::run_service(options.run);
}

}  // namespace

void add_serve(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand("serve", "reward models over HTTP, in the forms that trainers already speak");
  command->add_option("--reward", options->rewards, "reward model, NAME=DIR; repeats. The first one answers requests that name none")
      ->required()
      ->type_name("NAME=DIR")
      ->expected(1)
      ->take_all();
  command
      ->add_option(
          "--combine", options->combine,
          "llama2: \"combined\" is the safety score where a prompt is marked as about safety or the safety probability is below the "
          "gate, else the helpfulness score; it answers requests that name no model")
      ->check(CLI::IsMember({"llama2"}));
  command
      ->add_option("--gate-threshold", options->gate,
                   "gate of --combine; that of combination.json beside the safety model's folder when left out, else 0.15")
      ->type_name("NUMBER")
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--policy", options->policies, "language model for /v1/logprobs, NAME=DIR; repeats")
      ->type_name("NAME=DIR")
      ->expected(1)
      ->take_all();
  command
      ->add_option("--base", options->base,
                   "base model of the PEFT adapters, held once; the one that adapter_config.json names when left out")
      ->type_name("DIR");
  command->add_option("--bind", options->run.bind, "HOST:PORT, [IPv6]:PORT or unix:PATH; repeats. Port 0: any free one")
      ->type_name("ADDRESS")
      ->expected(1)
      ->take_all();
  command->add_option("--keys", options->run.key_file, "API keys, one a line, read again on SIGHUP")->type_name("FILE");
  command->add_flag("--insecure", options->run.insecure, "serve an address that others can reach without keys");
  command->add_option("--ready-file", options->run.ready_file, "gets the addresses once the models are loaded")->type_name("FILE");
  command->add_flag("--deterministic", options->run.models.deterministic,
                    "scores do not depend on the texts beside them; on a CPU they never do, on other devices this computes text by text");
  command->add_flag("--allow-tags", options->run.models.allow_tags,
                    "keep chat-format tags in user and system messages as plain text instead of refusing them");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, core::fields_of(options->run.service));
  command->callback([options, command, &invocation] {
    invocation.action = [options, command, &invocation] {
      common::configure(core::fields_of(options->run.service), invocation);
      run_serve(*options, *command);
    };
  });
}

}  // namespace keel::pipelines::cli::models
