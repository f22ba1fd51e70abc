// keel redteam: attempts to make a model break its rules, by people and automatic, and what they say about it.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "annotation/raters.h"
#include "core/digest_cache.h"
#include "core/error.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/talk/commands.h"
#include "pipelines/cli/talk/red_team_models.h"
#include "pipelines/cli/talk/red_team_report.h"
#include "pipelines/cli/talk/terminal_input.h"
#include "red_team/automatic.h"
#include "red_team/logs.h"
#include "red_team/measures.h"
#include "red_team/terminal.h"

namespace keel::pipelines::cli::talk {
namespace {

// The fields of --config and --set.
struct RedTeamConfig {
  policy::SamplingConfig sampling;
  int64_t batch_rows = 64;
  annotation::ChatServer server{.key_variable = "KEEL_TARGET_KEY"};  // the judge's key is not for the model under attack
};

void visit(RedTeamConfig& config, core::Fields& fields) {
  fields.section("sampling", config.sampling, "answers of the model");
  fields("batch_rows", config.batch_rows, "most answers decoded together", core::at_least(1));
  fields.section("server", config.server, "a model behind an OpenAI-style server, instead of --model");
}

struct RedTeamOptions {
  std::string model, url, server_model, name, chat, prompts, attacks, log, person, safety, out;
  std::vector<std::string> logs;
  std::optional<uint64_t> sandbox;
  double attempt_seconds = 0;
  inference::RenderPolicy limit;
  RedTeamConfig config;
  red_team::SearchConfig search;            // auto
  double unsafe_below = red_team::kUnsafe;  // replay
};

core::Fields search_fields(RedTeamOptions& options) {
  core::Fields fields = core::fields_of(options.config);
  fields.section("search", options.search, "the search and its control");
  return fields;
}

core::Fields replay_fields(RedTeamOptions& options) {
  core::Fields fields = core::fields_of(options.config);
  fields("unsafe_below", options.unsafe_below, "probability of the safety model below which its verdict is a violation",
         core::between(0, 1));
  return fields;
}

using Options = std::shared_ptr<RedTeamOptions>;

void add_target_options(CLI::App& command, RedTeamOptions& options, common::Invocation& invocation) {
  CLI::Option* model = command.add_option("--model", options.model, "model folder under attack")->type_name("DIR");
  command.add_option("--url", options.url, "server under attack, http://HOST:PORT[/v1]; $KEEL_TARGET_KEY is its bearer token")
      ->type_name("URL")
      ->excludes(model);
  command.add_option("--server-model", options.server_model, "name of the model to ask the server for")->type_name("NAME");
  command.add_option("--name", options.name, "name of this version in logs and reports; the folder's or the server model's when left out")
      ->type_name("NAME");
  command.add_option("--chat", options.chat, "chat format instead of the one in keel.json");
  common::add_base(command, invocation);
  common::add_render_policy(command, options.limit, "a longer one is not asked");
}

void add_log(CLI::App& command, RedTeamOptions& options) {
  command.add_option("--log", options.log, "attempts (.jsonl); goes on where it ends")->required()->type_name("FILE");
}

void add_logs(CLI::App& command, RedTeamOptions& options, const char* name) {
  command.add_option(name, options.logs, "log of attempts; repeats, the earliest version first")
      ->required()
      ->type_name("FILE")
      ->expected(1)
      ->take_all();
}

void add_sandbox(CLI::App& command, RedTeamOptions& options, const char* effect) {
  command.add_option("--sandbox", options.sandbox, fmt::format("the prompts are those of the sandbox with this seed: {}", effect))
      ->type_name("SEED");
}

// UsageError for an option or setting that nothing reads with this target.
void refuse_unread(const CLI::App& command, const RedTeamOptions& options) {
  const bool server = !options.url.empty();
  const auto refuse = [&](const std::string& name) {
    throw core::UsageError(fmt::format("{} has no effect with {}; leave it out", name, server ? "--url" : "--model"));
  };
  const std::vector<std::string> unread = server ? std::vector<std::string>{"--chat", "--max-tokens", "--drop-oldest-turns", "--allow-tags"}
                                                 : std::vector<std::string>{"--server-model"};
  for (const auto& option : unread)
    if (command.count(option) > 0) refuse(option);
  if (options.limit.drop_oldest_turns)
    throw core::UsageError("--drop-oldest-turns: an attempt is said whole or not at all, for log and judges show the whole; leave it out");
  for (const auto& field : core::set_fields(options.config)) {
    if (server ? field.name == "batch_rows" : field.name.starts_with("server.")) refuse(field.name);
    if (field.name == "server.url") throw core::UsageError("server.url has no effect beside --url; leave it out");
    if (field.name == "server.model" && !options.server_model.empty())
      throw core::UsageError("server.model has no effect beside --server-model; leave one of them out");
  }
}

red_team::Target target_of(const RedTeamOptions& options, const CLI::App& command, uint64_t seed) {
  if (options.model.empty() == options.url.empty()) throw core::UsageError("give --model DIR or --url URL, one of them");
  refuse_unread(command, options);
  const RedTeamConfig& config = options.config;
  const AnswerSettings settings{.sampling = config.sampling, .batch_rows = config.batch_rows, .seed = seed};
  if (!options.model.empty())
    return folder_target(options.model, options.chat, options.name, settings,
                         [&](const inference::RenderPolicy& own) { return common::overridden(command, options.limit, own); });
  annotation::ChatServer server = config.server;
  server.url = options.url;
  if (!options.server_model.empty()) server.model = options.server_model;
  return server_target(server, options.name, settings);
}

std::optional<sandbox::World> world_of(const RedTeamOptions& options) {
  return options.sandbox ? std::optional(sandbox::make_world(*options.sandbox)) : std::nullopt;
}

std::vector<red_team::Attack> attacks_of(const RedTeamOptions& options) {
  if (!options.attacks.empty()) return red_team::read_attacks(options.attacks);
  return options.sandbox ? red_team::sandbox_attacks() : red_team::english_attacks();
}

std::vector<red_team::Request> requests_of(const RedTeamOptions& options) {
  auto set = red_team::read_requests(options.prompts, world_of(options));
  core::log_info(fmt::format("{}: {}", options.prompts, to_line(set.counts)));
  return std::move(set.requests);
}

red_team::Judges judges_of(const RedTeamOptions& options) {
  core::DigestCache digests;
  return {.world = world_of(options),
          .safety = options.safety.empty() ? red_team::SafetyScore{} : safety_score(options.safety),
          .safety_digest = options.safety.empty() ? "" : inference::model_digest(options.safety, digests),
          .unsafe_below = options.unsafe_below};
}

std::vector<red_team::Attempt> attempts_in(const std::vector<std::string>& logs) {
  return red_team::read_logs({logs.begin(), logs.end()});
}

// --person, without surrounding blanks. UsageError before any work where nothing else is there.
std::string person_of(const RedTeamOptions& options) {
  std::string person = annotation::rater_name(options.person);
  if (person.empty()) throw core::UsageError("--person is blank: name who tries and rates");
  return person;
}

void add_try(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RedTeamOptions>();
  CLI::App* command = group.add_subcommand("try", "a person at the terminal: write, see the answer, rate; goes on after any kill");
  add_target_options(*command, *options, invocation);
  command->add_option("--prompts", options->prompts, "requests to try, one user turn each (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command->add_option("--attacks", options->attacks, "ready-made attacks instead of the built-in ones")->type_name("FILE");
  add_sandbox(*command, *options, "its attacks, its requests without disguise");
  add_log(*command, *options);
  command->add_option("--person", options->person, "who tries and rates")->required()->type_name("NAME");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, core::fields_of(options->config));
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure(core::fields_of(options->config), invocation);
      common::use_base(invocation, {options->model, options->safety});
      const std::string person = person_of(*options);
      const auto requests = requests_of(*options);
      const auto attacks = attacks_of(*options);
      red_team::AttemptLog log(options->log);
      log.require_person(person);
      red_team::try_requests(person, target_of(*options, *command, invocation.seed), requests, attacks, log, red_team_terminal());
    };
  });
}

void add_rate(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RedTeamOptions>();
  CLI::App* command = group.add_subcommand("rate", "a person rates the attempts of a log that they have not rated");
  add_log(*command, *options);
  command->add_option("--person", options->person, "who rates")->required()->type_name("NAME");
  common::add_common_options(*command, invocation);
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      const std::string person = person_of(*options);
      if (!std::filesystem::exists(options->log))
        throw core::UsageError(fmt::format("there is no log {}; keel redteam try and auto write one", options->log));
      red_team::AttemptLog log(options->log);
      if (log.attempts().empty()) throw core::DataError(options->log, 0, "holds no attempt to rate");
      red_team::rate_attempts(person, log, red_team_terminal());
    };
  });
}

void run_auto(const RedTeamOptions& options, const CLI::App& command, uint64_t seed) {
  common::check_output(options.out, {options.prompts, options.log});
  core::JsonlWriter writer(options.out);
  const auto requests = requests_of(options);
  const auto attacks = attacks_of(options);
  const auto judges = judges_of(options);
  const red_team::Target target = target_of(options, command, seed);
  red_team::AttemptLog log(options.log);
  for (const char* source : {"plain", "search"}) {
    const int64_t refused = red_team::attack_automatically(source, target, requests, attacks, options.search, seed, judges, log);
    writer.write(distinct_row(source, target, log.attempts(), refused));
  }
  writer.commit();
}

void add_auto(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RedTeamOptions>();
  CLI::App* command = group.add_subcommand("auto", "an automatic search for violations, beside plain sampling with the same budget");
  add_target_options(*command, *options, invocation);
  command->add_option("--safety", options->safety, "safety reward model: ranks the answers")->required()->type_name("DIR");
  command->add_option("--prompts", options->prompts, "requests to try, one user turn each (.jsonl, .gz, .zst, .parquet)")
      ->required()
      ->type_name("FILE");
  command->add_option("--attacks", options->attacks, "attacks instead of the built-in ones")->type_name("FILE");
  add_sandbox(*command, *options, "its attacks, and its gold judge decides what a violation is");
  command->add_option("--budget", options->search.budget, "answers of the model, for each of the two")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  add_log(*command, *options);
  command->add_option("--out", options->out, "one row for each of the two; standard output when left out")->type_name("FILE");
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, search_fields(*options));
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      const int64_t budget = options->search.budget;
      common::configure(search_fields(*options), invocation);
      common::use_base(invocation, {options->model, options->safety});
      if (command->count("--budget") > 0) options->search.budget = budget;
      run_auto(*options, *command, invocation.seed);
    };
  });
}

void add_replay(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RedTeamOptions>();
  CLI::App* command = group.add_subcommand("replay", "says what violated on earlier models to another one");
  add_target_options(*command, *options, invocation);
  add_logs(*command, *options, "--from");
  command->add_option("--safety", options->safety, "safety reward model that judges the answers")->type_name("DIR");
  add_sandbox(*command, *options, "its gold judge decides");
  add_log(*command, *options);
  common::add_common_options(*command, invocation);
  common::describe_fields(*command, replay_fields(*options));
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure(replay_fields(*options), invocation);
      common::use_base(invocation, {options->model, options->safety});
      if (options->safety.empty() && options->unsafe_below != red_team::kUnsafe)
        throw core::UsageError("unsafe_below has no effect without --safety; leave it out");
      const auto earlier = attempts_in(options->logs);
      const auto judges = judges_of(*options);
      if (!judges.world && !judges.safety) core::log_info("nothing judges the answers: people do, with keel redteam rate");
      red_team::AttemptLog log(options->log);
      const int64_t refused = red_team::replay(earlier, target_of(*options, *command, invocation.seed), judges, log);
      if (refused > 0) core::log_warn(fmt::format("{} scripts could not be said to this model", refused));
    };
  });
}

void add_report(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RedTeamOptions>();
  CLI::App* command = group.add_subcommand("report", "violations per person-hour, rejection rates between versions, coverage");
  add_logs(*command, *options, "--log");
  command
      ->add_option("--attempt-seconds", options->attempt_seconds,
                   "time that an automatic attempt counts for in violations per person-hour; 0 leaves those without a rate")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 86400.0));
  command->add_option("--out", options->out, "JSON lines; standard output when left out. Tables go to standard error")->type_name("FILE");
  common::add_common_options(*command, invocation);
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      common::check_output(options->out, options->logs);
      write_red_team_report(attempts_in(options->logs), options->attempt_seconds, options->out);
    };
  });
}

void add_export(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RedTeamOptions>();
  CLI::App* command = group.add_subcommand("export", "what violated as adversarial prompts for the next version, each once");
  add_logs(*command, *options, "--log");
  command->add_option("--out", options->out, "rows of prompts; standard output when left out")->type_name("FILE");
  common::add_common_options(*command, invocation);
  command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      common::check_output(options->out, options->logs);
      core::write_jsonl(options->out, red_team::adversarial_prompts(attempts_in(options->logs)));
    };
  });
}

}  // namespace

void add_redteam(CLI::App& app, common::Invocation& invocation) {
  CLI::App* group = app.add_subcommand("redteam", "attempts to make a model break its rules: by people, automatic, and what they show");
  group->require_subcommand(1);
  add_try(*group, invocation);
  add_rate(*group, invocation);
  add_auto(*group, invocation);
  add_replay(*group, invocation);
  add_report(*group, invocation);
  add_export(*group, invocation);
}

}  // namespace keel::pipelines::cli::talk
