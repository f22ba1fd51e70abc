// keel run, status, explain, report: the staged pipeline.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/digest_cache.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/log.h"
#include "core/version.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/cli/runs/runs.h"
#include "pipelines/cli/runs/watch.h"
#include "pipelines/report/summary.h"
#include "pipelines/run/stage_runner.h"
#include "pipelines/stages/graph.h"
#include "pipelines/stages/outside.h"
#include "pipelines/steps/ranks.h"
#include "runtime/device.h"
#include "runtime/dist/ranks.h"

namespace keel::pipelines::cli::runs {
namespace {

namespace fs = std::filesystem;

struct RunCommandOptions {
  std::string recipe, out, until, only;
  bool dry_run = false, schema = false, verify = false;
};

void print_statuses(const RunView& view) {
  for (const auto& line : status_lines(view))
    std::cout << line << "\n";
}

// Links that people and scripts can rely on: DIR/models/ppo, DIR/reward_models/safety, DIR/report.html, DIR/summary.json.
void publish(const run::RunDirectory& run, const recipe::Recipe& recipe) {
  std::set<fs::path> linked;
  const auto link = [&](const fs::path& name, const fs::path& target) {
    core::make_directories((run.root() / name).parent_path());
    run::replace_link(run.root() / name, target);
    linked.insert(run.root() / name);
  };
  for (const auto& [name, stage] : recipe::run_models(recipe))
    if (!stage.empty()) link(fs::path("models") / name, fs::path("..") / "stages" / stage / "current");
  for (const auto& [kind, stage] : recipe::run_reward_models(recipe))
    link(fs::path("reward_models") / kind, fs::path("..") / "stages" / stage / "current");
  core::write_file(run.root() / "reward_models" / "combination.json", core::dump_json(core::json_of(recipe.combination)) + "\n");
  for (const char* folder : {"models", "reward_models"})
    for (const auto& entry : fs::directory_iterator(run.root() / folder))
      if (entry.is_symlink() && !linked.contains(entry.path())) run::remove_tree(entry.path());  // left by a recipe with other models
  for (const char* file : {"report.html", "summary.json"})
    core::write_file(run.root() / file, core::read_file(*run.current("report") / file));
}

void run_recipe(const RunCommandOptions& options, common::Invocation& invocation) {
  if (options.schema) {
    recipe::Recipe recipe;
    std::cout << core::json_schema(core::fields_of(recipe)).dump(2) << "\n";
    return;
  }
  if (options.recipe.empty() || options.out.empty())
    throw core::UsageError("keel run needs a recipe and --out DIR: keel run recipes/sandbox.json --out runs/demo");
  std::vector<std::string> settings = invocation.set;
  if (!invocation.base.empty()) settings.push_back("base=" + invocation.base);
  recipe::Recipe recipe = recipe::read_recipe(options.recipe, invocation.config, settings);
  if (invocation.seed_given) recipe.seed = static_cast<int64_t>(invocation.seed);
  run::RunDirectory run(options.out);
  run.check_recipe(recipe.name);
  stages::check_external_files(recipe);
  const auto record = run.record();
  core::DigestCache known(run.digest_file(), !options.verify);
  const auto external =
      stages::external_digests(recipe, known, record ? stages::people_digests(record->external) : std::map<std::string, std::string>{});
  std::vector<run::Stage> stages = stages::build_stages(recipe, external);
  if (!runtime::dist::first()) return steps::follow(stages);
  std::ranges::transform(stages, stages.begin(), steps::led);
  run::RunOptions run_options = options_for(recipe, invocation);
  run_options.until = options.until;
  run_options.only = options.only;
  if (options.verify) run_options.check = run::OutputCheck::digests;
  if (options.dry_run) {
    print_statuses({.stages = plan(run, stages, run_options)});
    return;
  }
  const auto required = run::required_threads(run, stages, run_options);  // refuses an unknown --until before the folder is touched
  if (!invocation.threads_given) invocation.threads = required.value_or(static_cast<int>(recipe.threads));
  run_options.threads = runtime::configure_process(invocation.threads);
  run::check_ready(run, stages, run_options);  // run.json tells of what has begun
  stages::try_judges(recipe, run, stages, run_options);
  run.begin({.recipe = recipe.name,
             .version = core::kVersion,
             .config = core::dump_json(core::json_of(recipe)),
             .external = external,
             .device = invocation.device,
             .precision = invocation.precision});
  known.save();
  execute(run, stages, run_options);
  if (!run.current("report") || !options.until.empty() || !options.only.empty()) return;
  publish(run, recipe);
  std::cout << report::summary_text(run.root() / "summary.json");
  core::log_info(fmt::format("report: {}", (run.root() / "report.html").string()));
}

void show_status(const std::string& folder, bool verify, const common::Invocation& invocation) {
  common::configure({}, invocation);
  const RunView view = view_of(folder, verify ? run::OutputCheck::digests : run::OutputCheck::touched, invocation);
  RunView table = view;
  table.working.clear();  // scripts know the four states
  print_statuses(table);
  if (view.running) std::cout << "a process is working on it" << (view.progress ? ": " + *view.progress : "") << "\n";
}

// --watch: `seconds` as given, "" = left out.
void watch_status(const std::string& folder, const std::string& seconds, const common::Invocation& invocation) {
  common::configure({}, invocation);
  double pause = 2;
  if (!seconds.empty() && !(CLI::detail::lexical_cast(seconds, pause) && pause >= 0.1 && pause <= 86400))
    throw core::UsageError(fmt::format(
        "--watch takes the seconds between two looks, 0.1 to 86400, got {}; the folder stands before it: keel status DIR --watch",
        seconds));
  core::install_interrupt_handler("\n");  // Ctrl-C is how a watch ends
  watch([&] { return run::RunDirectory(folder).record() ? view_of(folder, run::OutputCheck::sizes, invocation) : RunView{}; }, pause);
}

void show_explanation(const std::string& folder, const std::string& stage, const std::string& recipe_file,
                      const common::Invocation& invocation) {
  const run::RunDirectory run(folder);
  recipe::Recipe recipe = recipe_file.empty() ? recorded_recipe(run, invocation.config, invocation.set)
                                              : recipe::read_recipe(recipe_file, invocation.config, invocation.set);
  if (invocation.seed_given) recipe.seed = static_cast<int64_t>(invocation.seed);
  const auto record = run.record();
  core::DigestCache known(run.digest_file());
  const auto external = stages::external_digests(recipe, known, record ? record->external : std::map<std::string, std::string>{});
  for (const auto& line : explain(run, stages::build_stages(recipe, external), options_of(run, recipe, invocation), stage))
    std::cout << line << "\n";
}

void show_report(const std::string& folder, const common::Invocation& invocation) {
  common::configure({}, invocation);
  const run::RunDirectory run(folder);
  const recipe::Recipe recipe = recorded_recipe(run);
  const auto stages = plan(run, recorded_stages(run, recipe), options_of(run, recipe, invocation));
  if (stages.back().state != run::StageState::done)
    throw core::UsageError(fmt::format("{} has no report yet: let keel run finish (keel status {} says how far it is)", folder, folder));
  const core::FileLock lock(run.root() / "run.lock");  // a running keel run may be about to publish
  publish(run, recipe);
  std::cout << report::summary_text(run.root() / "summary.json") << "report: " << (run.root() / "report.html").string() << "\n";
}

}  // namespace

void add_run_commands(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<RunCommandOptions>();
  CLI::App* command = app.add_subcommand("run", "run a recipe stage by stage; a second call does nothing, or continues after a kill");
  command->add_option("recipe", options->recipe, "recipe file, e.g. recipes/sandbox.json")->type_name("RECIPE");
  command->add_option("--out", options->out, "run folder; new, empty, or of the same recipe")->type_name("DIR");
  command->add_option("--until", options->until, "stop after this stage")->type_name("STAGE");
  command->add_option("--only", options->only, "run this stage alone")->type_name("STAGE")->excludes("--until");
  command->add_flag("--dry-run", options->dry_run, "say what would be done");
  command->add_flag("--verify", options->verify, "compare all finished outputs with their SHA-256, not only those modified since");
  command->add_flag("--schema", options->schema, "print the JSON schema of a recipe");
  common::add_base(*command, invocation);
  common::add_common_options(*command, invocation);
  command->get_option("--config")->description("JSON file (comments allowed) with fields that replace the recipe's");
  recipe::Recipe defaults;
  common::describe_fields(*command, core::fields_of(defaults), "Fields of a recipe, of --config and --set");
  command->callback([options, &invocation] {
    invocation.ranks = !options->schema && !options->dry_run;
    invocation.action = [options, &invocation] { run_recipe(*options, invocation); };
  });

  const auto add_on_folder = [&](const char* name, const char* help, const auto& action) {
    auto folder = std::make_shared<std::string>();
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("folder", *folder, "run folder")->required()->type_name("DIR");
    common::add_common_options(*sub, invocation);
    action(*sub, folder);
  };
  add_on_folder("status", "state of every stage (done, half done, stale or waiting), and why", [&](CLI::App& sub, const auto& folder) {
    auto verify = std::make_shared<bool>(false);
    auto seconds = std::make_shared<std::string>();
    CLI::Option* verified = sub.add_flag("--verify", *verify, "compare all finished outputs with their SHA-256");
    CLI::Option* watched =
        sub.add_option(
               "--watch", *seconds,
               "look again every SECONDS (2 when left out), with the progress of the running stage, until the run ends; waits for a "
               "run that has not begun; Ctrl-C ends it")
            ->type_name("[SECONDS]")
            ->expected(0, 1)
            ->excludes(verified);
    sub.callback([=, &invocation] {
      invocation.action = [=, &invocation] {
        if (watched->count() > 0)
          watch_status(*folder, watched->results().at(0), invocation);
        else
          show_status(*folder, *verify, invocation);
      };
    });
  });
  add_on_folder("explain", "why a stage would run again: differences from its last result", [&](CLI::App& sub, const auto& folder) {
    auto stage = std::make_shared<std::string>();
    auto recipe = std::make_shared<std::string>();
    sub.add_option("stage", *stage, "stage name")->required()->type_name("STAGE");
    sub.add_option("--recipe", *recipe, "compare with this recipe instead of the recorded one")->type_name("FILE");
    sub.get_option("--config")->description("JSON file (comments allowed) with fields that replace the recipe's");
    sub.callback([folder, stage, recipe, &invocation] {
      invocation.action = [=, &invocation] { show_explanation(*folder, *stage, *recipe, invocation); };
    });
  });
  add_on_folder("report", "write report.html and summary.json beside run.json again, print the summary",
                [&](CLI::App& sub, const auto& folder) {
                  sub.callback([folder, &invocation] { invocation.action = [folder, &invocation] { show_report(*folder, invocation); }; });
                });
}

}  // namespace keel::pipelines::cli::runs
