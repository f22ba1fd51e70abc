// keel inspect: what a path is.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/parquet.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/cli/runs/inspect.h"
#include "pipelines/cli/runs/runs.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/run/run_directory.h"
#include "policy/other_checkpoints.h"

namespace keel::pipelines::cli::runs {
namespace {

namespace fs = std::filesystem;
using inference::PathKind;
using nlohmann::json;

struct InspectOptions {
  std::string path, model, chat;
  int64_t rows = 2;
  bool ids = false, as_json = false;
};

json run_facts(const std::string& folder, const common::Invocation& invocation) {
  const run::RunDirectory run(folder);
  const recipe::Recipe recipe = recorded_recipe(run);
  const RunView view = view_of(folder, run::OutputCheck::sizes, invocation);
  const auto record = run.record();
  json facts = {{"kind", "run of a recipe"}, {"recipe", record->recipe}, {"keel", record->version},       {"versions", recipe.versions},
                {"running", view.running},   {"models", json::array()},  {"reward_models", json::array()}};
  for (const auto& stage : view.stages)
    facts["stages"].push_back({{"name", stage.name}, {"state", state_of(view, stage)}, {"reason", stage.reason}});
  if (view.progress) facts["progress"] = *view.progress;
  const auto add = [&](const char* list, const auto& models) {
    for (const auto& [name, stage] : models)
      if (const auto current = stage.empty() ? std::nullopt : run.current(stage))
        facts[list].push_back({{"name", name}, {"stage", stage}, {"path", (run.stage_folder(stage) / "current").string()}});
  };
  add("models", recipe::run_models(recipe));
  add("reward_models", recipe::run_reward_models(recipe));
  return facts;
}

// UsageError that says what a folder is not, with the nearest remedy.
[[noreturn]] void refuse_folder(const fs::path& folder) {
  std::string remedy = policy::other_folder(folder);
  if (fs::exists(folder / "sweep.lock.json"))
    remedy = fmt::format("it is a sweep, whose run lies in {}", (folder / "run").string());
  else if (fs::exists(folder / "attempt.json"))
    remedy = "it is half-done work: the command that began it goes on";
  else if (fs::is_empty(folder))
    remedy = "it is empty";
  if (remedy.empty()) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
      names.push_back(entry.path().filename().string() + (entry.is_directory() ? "/" : ""));
    std::sort(names.begin(), names.end());
    if (names.size() > 8) names.resize(8), names.emplace_back("...");
    remedy = fmt::format("name one of what it holds: {}", fmt::join(names, ", "));
  }
  throw core::UsageError(fmt::format(
      "{} is no model folder (config.json), adapter (adapter_config.json), tokenizer (tokenizer.json or tokenizer.model) and no "
      "run (run.json); {}",
      folder.string(), remedy));
}

// A recipe, which may begin with a comment: an object whose "data" is an object; no form of a row has that.
void refuse_recipe(const fs::path& path) {
  if (path.extension() != ".json" || fs::file_size(path) > (int64_t{1} << 20)) return;
  const json object = json::parse(core::read_file(path), nullptr, false, true);
  if (object.is_object() && object.contains("data") && object["data"].is_object())
    throw core::UsageError(
        fmt::format("{} is a recipe: keel run {} --out DIR --dry-run checks it and lists its stages", path.string(), path.string()));
}

json facts_of_path(const InspectOptions& options, const common::Invocation& invocation) {
  const fs::path path = options.path;
  if (!fs::exists(path)) throw core::UsageError(fmt::format("{} does not exist", path.string()));
  if (fs::exists(path / "run.json")) return run_facts(options.path, invocation);
  const PathKind kind = inference::path_kind(path);
  const bool data = kind == PathKind::other && !fs::is_directory(path);
  if (!data && !options.model.empty())
    throw core::UsageError(fmt::format("--model is for data files, and {} is none; leave it out", path.string()));
  if (kind != PathKind::other) return inference::facts_of(path, options.chat);
  if (fs::is_directory(path)) refuse_folder(path);
  if (!core::reads_parquet() || !core::is_parquet(path)) policy::refuse_other_checkpoint(path);
  refuse_recipe(path);
  if (options.model.empty() && (options.ids || !options.chat.empty()))
    throw core::UsageError("--ids and --chat need --model, whose tokenizer makes the ids");
  std::optional<inference::TextParts> parts;
  if (!options.model.empty()) parts = inference::text_parts(options.model, options.chat);
  return data_facts(path, parts, options.rows, options.ids);
}

void inspect(const InspectOptions& options, const common::Invocation& invocation) {
  common::configure({}, invocation);
  common::use_base(invocation, {options.path, options.model});
  const json facts = facts_of_path(options, invocation);
  const std::string kind = facts.at("kind");
  if (options.as_json) {
    std::cout << core::dump_json(facts) << "\n";
  } else if (kind == "data file") {
    const Marks marks{.colour = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr};
    std::cout << text_of_data(options.path, facts, marks);
  } else {
    std::cout << (kind == "run of a recipe" ? text_of_run(options.path, facts) : text_of_model(options.path, facts));
  }
  std::cout.flush();
  if (facts.contains("unreadable"))
    throw core::DataError(options.path, 0,
                          fmt::format("{} of {} rows cannot be read; {}", facts["unreadable"]["rows"].get<int64_t>(),
                                      facts["rows"].get<int64_t>(), facts["unreadable"]["first"][0].get<std::string>()));
}

}  // namespace

void add_inspect(CLI::App& app, common::Invocation& invocation) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand("inspect", "what a path is: a model, an adapter, a tokenizer, a data file, a run");
  command->add_option("path", options->path, "a folder or a file")->required()->type_name("PATH");
  command->add_option("--model", options->model, "renders and counts the rows of a data file for this model folder, GGUF file or tokenizer")
      ->type_name("PATH");
  command->add_option("--chat", options->chat, "chat format instead of the model's own: a name, or a .json file that declares one");
  common::add_base(*command, invocation);
  command->add_option("--rows", options->rows, "rows of a data file that are shown")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  command->add_flag("--ids", options->ids, "show the token ids of the rendered rows");
  command->add_flag("--json", options->as_json, "one JSON object instead of text");
  common::add_common_options(*command, invocation);
  command->callback([options, &invocation] { invocation.action = [options, &invocation] { inspect(*options, invocation); }; });
}

}  // namespace keel::pipelines::cli::runs
