// keel lineage, diff, prune: what a result was made from, how two runs differ, and which results can be deleted.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/run/lineage.h"
#include "pipelines/run/prune.h"
#include "pipelines/run/stage_graph.h"

namespace keel::pipelines::cli::runs {
namespace {

namespace fs = std::filesystem;

std::string brief(const std::string& digest) {
  return digest.substr(0, 12);
}

// Everything that made one result, as one JSON object.
nlohmann::json record_of(const run::Artefact& artefact) {
  const run::Manifest& manifest = artefact.manifest;
  const nlohmann::json material = core::parse_json(manifest.material, "key material");
  nlohmann::json inputs = nlohmann::json::object(), outputs = nlohmann::json::object();
  for (const auto& [stage, input] : manifest.inputs)
    inputs[stage] = {{"key", input.key}, {"digest", input.digest}};
  for (const auto& output : manifest.outputs)
    outputs[output.path] = output.sha256;
  return {{"stage", manifest.stage},
          {"key", manifest.key},
          {"folder", artefact.folder.string()},
          {"seed", material.value("seed", nlohmann::json())},
          {"config", material.value("config", nlohmann::json())},
          {"external", material.value("external", nlohmann::json::object())},
          {"inputs", inputs},
          {"digest", run::content_digest(manifest.outputs)},
          {"outputs", outputs},
          {"versions", manifest.versions},
          {"threads", manifest.threads},
          {"attempts", manifest.attempts},
          {"seconds", manifest.seconds},
          {"started", manifest.started},
          {"finished", manifest.finished}};
}

void show_lineage(const std::string& path, const std::string& out) {
  common::check_output(out, {path});
  const auto all = ancestry(run::artefact_of(path));
  core::write_jsonl(out, all, record_of);
}

nlohmann::json run_config(const run::RunDirectory& run) {
  const auto record = run.record();
  if (!record) throw core::UsageError(fmt::format("{} holds no run: give the folder that keel run wrote to", run.root().string()));
  const fs::path file = run.root() / "run.json";
  nlohmann::json config = core::parse_json(record->config, file.string());
  if (!config.is_object()) throw core::DataError(file.string(), 0, "is damaged: \"config\" must be an object; keel run writes it again");
  return config;
}

// The measures of summary.json by (model, measure); empty before the report is done.
std::map<std::pair<std::string, std::string>, std::string> measures_of(const run::RunDirectory& run) {
  std::map<std::pair<std::string, std::string>, std::string> measures;
  if (!fs::exists(run.root() / "summary.json")) return measures;
  const nlohmann::json summary = core::read_json_file(run.root() / "summary.json");
  const auto add = [&](const std::string& who, const std::string& measure, const nlohmann::json& value) {
    if (value.is_object() && value.at("mean").is_number() && value.at("low").is_number() && value.at("high").is_number())
      measures[{who, measure}] = fmt::format("{:.3f} [{:.3f}, {:.3f}]", value.at("mean").get<double>(), value.at("low").get<double>(),
                                             value.at("high").get<double>());
  };
  try {
    for (const auto& model : summary.at("models"))
      for (const auto& [measure, value] : model.items())
        add(model.at("name"), measure, value);
    for (const auto& reward : summary.at("reward_models"))
      add(reward.at("name").get<std::string>() + " RM", "accuracy", reward.at("accuracy"));
  } catch (const nlohmann::json::exception& error) {
    throw core::DataError(run.root() / "summary.json", 0, fmt::format("is damaged ({}); keel report writes it anew", error.what()));
  }
  return measures;
}

void show_difference(const std::string& a, const std::string& b) {
  const run::RunDirectory first(a), second(b);
  const nlohmann::json before = run_config(first).flatten(), now = run_config(second).flatten();
  std::set<std::string> settings;
  for (const auto& config : {before, now})
    for (const auto& [key, value] : config.items())
      settings.insert(key);
  const auto text = [](const nlohmann::json& config, const std::string& key) {
    return config.contains(key) ? core::dump_json(config.at(key)) : "-";
  };
  std::cout << "settings\n";
  for (const auto& key : settings)
    if (text(before, key) != text(now, key)) {
      std::string name = key.substr(1);
      std::replace(name.begin(), name.end(), '/', '.');
      std::cout << fmt::format("  {}: {} -> {}\n", name, text(before, key), text(now, key));
    }

  std::cout << "stages\n";
  std::set<std::string> stages;
  for (const auto* run : {&first, &second})
    if (fs::exists(run->root() / "stages"))
      for (const auto& entry : fs::directory_iterator(run->root() / "stages"))
        stages.insert(entry.path().filename());
  for (const auto& stage : stages) {
    const auto one = first.current(stage), other = second.current(stage);
    if (!one && !other) continue;
    if (!one || !other) {
      std::cout << fmt::format("  {:<22} only in {}\n", stage, one ? a : b);
      continue;
    }
    const run::Manifest old = *run::read_manifest(*one), fresh = *run::read_manifest(*other);
    if (run::content_digest(old.outputs) == run::content_digest(fresh.outputs)) {
      std::cout << fmt::format("  {:<22} same outputs {}\n", stage, brief(run::content_digest(old.outputs)));
      continue;
    }
    const auto lines =
        run::key_differences(core::parse_json(old.material, "key material"), core::parse_json(fresh.material, "key material"));
    std::cout << fmt::format("  {:<22} {}\n", stage, lines.empty() ? "other outputs under the same key" : lines.front());
  }

  const auto left = measures_of(first), right = measures_of(second);
  std::cout << "measures\n";
  for (const auto& [name, value] : left)
    if (const auto found = right.find(name); found != right.end() && found->second != value)
      std::cout << fmt::format("  {:<16} {:<26} {:<24} {}\n", name.first, name.second, value, found->second);
}

void prune_run(const std::string& folder, const run::PruneOptions& options) {
  run::RunDirectory run(folder);
  run_config(run);
  const core::FileLock lock(run.root() / "run.lock");
  for (const auto& path : prune(run, options))
    std::cout << (options.dry_run ? "would remove " : "removed ") << path.string() << "\n";
}

}  // namespace

void add_lineage_commands(CLI::App& app, common::Invocation& invocation) {
  auto path = std::make_shared<std::string>(), out = std::make_shared<std::string>();
  CLI::App* lineage = app.add_subcommand("lineage", "what a result was made from: a JSON line for each step, the result last");
  lineage->add_option("path", *path, "a file or folder of a run, or the folder of a single step")->required()->type_name("PATH");
  lineage->add_option("--out", *out, "where to write; standard output when left out")->type_name("FILE");
  common::add_common_options(*lineage, invocation);
  lineage->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      show_lineage(*path, *out);
    };
  });

  auto runs = std::make_shared<std::vector<std::string>>();
  CLI::App* diff = app.add_subcommand("diff", "two runs: settings, stages and measures that differ");
  diff->add_option("runs", *runs, "two run folders")->required()->expected(2)->type_name("RUN");
  common::add_common_options(*diff, invocation);
  diff->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      show_difference(runs->at(0), runs->at(1));
    };
  });

  auto folder = std::make_shared<std::string>();
  auto options = std::make_shared<run::PruneOptions>();
  CLI::App* prune_command = app.add_subcommand("prune", "remove results that are neither kept nor inputs of kept ones");
  prune_command->add_option("folder", *folder, "run folder")->required()->type_name("DIR");
  prune_command->add_option("--keep-last", options->keep_last, "newest results of each stage that stay, besides those in use")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000}))
      ->capture_default_str();
  prune_command
      ->add_option("--keep-best", options->keep_best,
                   "keep the report whose last model has the highest value of this measure, and its inputs")
      ->check([](const std::string& measure) { return std::string(measure.empty() ? "must name a measure" : ""); })
      ->type_name("MEASURE");
  prune_command->add_flag("--dry-run", options->dry_run, "say what would be removed");
  common::add_common_options(*prune_command, invocation);
  prune_command->callback([=, &invocation] {
    invocation.action = [=, &invocation] {
      common::configure({}, invocation);
      prune_run(*folder, *options);
    };
  });
}

}  // namespace keel::pipelines::cli::runs
