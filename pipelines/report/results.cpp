#include "pipelines/report/results.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "evaluation/reward_json.h"
#include "evaluation/statistics/json.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/run/manifest.h"

namespace keel::pipelines::report {

namespace {

// Accuracy of a judge who knows the truth, on the held-out pairs of all batches that a reward model's figures are of: all, or those that
// had no part in choosing between it and its predecessor. Nothing without such pairs.
std::optional<double> best_possible_accuracy(const recipe::Recipe& recipe, const Folders& folders, const std::string& kind, bool chosen) {
  double correct = 0, pairs = 0;
  for (const auto& version : recipe::versions_of(recipe)) {
    const nlohmann::json annotator = core::read_json_file(folders.at(version.preferences) / "annotator.json");
    const auto ceiling = annotator.find(kind == "general" ? "public" : kind);
    if (ceiling == annotator.end()) continue;
    const nlohmann::json& of_pairs = chosen ? ceiling->at("reported") : *ceiling;
    const double count = of_pairs.at("pairs").get<double>();
    correct += count * of_pairs.at("best_possible_accuracy").get<double>();
    pairs += count;
  }
  return pairs > 0 ? std::optional(correct / pairs) : std::nullopt;
}

std::vector<std::pair<std::string, std::string>> measured_rewards(const recipe::Recipe& recipe, const Folders& folders) {
  auto models = recipe::run_reward_models(recipe);
  for (const char* gold : {recipe::kGoldHelpfulness, recipe::kGoldSafety})
    if (folders.has(gold)) models.emplace_back(gold, gold);
  std::erase_if(models, [&](const auto& model) { return !std::filesystem::exists(folders.at(model.second) / "evaluation.json"); });
  return models;
}

}  // namespace

bool Folders::has(const std::string& stage) const {
  return std::any_of(all.begin(), all.end(), [&](const auto& one) { return one.first == stage; });
}

const std::filesystem::path& Folders::at(const std::string& stage) const {
  for (const auto& [name, folder] : all)
    if (name == stage) return folder;
  throw std::out_of_range("[report.Folders] there is no stage " + stage);
}

std::string to_text(const PpoOutcome& outcome) {
  if (outcome.kept_iteration == 0)
    return fmt::format("PPO changed nothing: after none of {} iterations did the held-out prompts score higher.", outcome.iterations);
  return fmt::format("The weights after iteration {} of {} are kept.", outcome.kept_iteration, outcome.iterations);
}

Results read_results(const recipe::Recipe& recipe, const Folders& folders) {
  Results results{.gold = recipe::gold_of(recipe) != recipe::Gold::none,
                  .models = {},
                  .reward_stages = {},
                  .rewards = {},
                  .by_family = {},
                  .answers = {},
                  .seconds = {},
                  .ppo = {}};
  const nlohmann::json measured = core::read_json_file(folders.at("evaluation") / "evaluation.json");
  for (const auto& object : measured.at("models")) {
    evaluation::MeasuredModel model{.name = object.at("name").get<std::string>(), .measures = {}, .counts = {}};
    for (const auto& [key, value] : object.items())
      if (value.is_object() && value.contains("mean")) {
        model.measures[key] = evaluation::statistics::interval_from_json(value);
        model.counts[key] = object.at("n").at(key).get<int64_t>();
      }
    model.before = object.value("before", "");
    model.version_before = object.value("version_before", "");
    results.models.push_back(std::move(model));
  }
  for (const auto& version : recipe::versions_of(recipe)) {
    if (version.ppo.empty()) continue;
    const nlohmann::json lineage = core::read_json_file(folders.at(version.ppo) / "keel.json").at("lineage");
    results.ppo[version.ppo] = {.iterations = lineage.at("iterations").get<int64_t>(),
                                .kept_iteration = lineage.at("kept_iteration").get<int64_t>()};
  }
  results.by_family = measured.at("by_family");
  for (const auto& [kind, stage] : measured_rewards(recipe, folders)) {
    const std::filesystem::path folder = folders.at(stage);
    nlohmann::json& reward = results.rewards.emplace_back(core::read_json_file(folder / "evaluation.json"));
    results.reward_stages.emplace_back(kind, stage);
    reward["name"] = kind;
    if (reward.contains("unsafe"))  // the stage used the paper's gate
      reward["unsafe"]["at_gate"] = evaluation::detection_json(
          evaluation::unsafe_detection(evaluation::read_scores(folder / "scores.jsonl")), recipe.combination.gate_threshold);
    if (recipe::gold_of(recipe) != recipe::Gold::sandbox) continue;
    if (const auto best = best_possible_accuracy(recipe, folders, kind, reward.contains("validation_accuracy")))
      reward["best_possible_accuracy"] = *best;
  }
  core::JsonlReader reader(folders.at("evaluation") / "answers.jsonl");
  for (nlohmann::json row; reader.next(row);)
    results.answers.push_back(row);
  for (const auto& [stage, folder] : folders.all)
    if (const auto manifest = run::read_manifest(folder)) results.seconds.emplace_back(stage, manifest->seconds);
  return results;
}

nlohmann::json summary_json(const Results& results) {
  nlohmann::json models = nlohmann::json::array(), rewards = nlohmann::json::array(), seconds = nlohmann::json::object();
  for (const auto& model : results.models) {
    models.push_back({{"name", model.name}});
    if (!model.before.empty()) models.back()["before"] = model.before;
    if (!model.version_before.empty()) models.back()["version_before"] = model.version_before;
    if (const auto ppo = results.ppo.find(model.name); ppo != results.ppo.end()) {
      models.back()["iterations"] = ppo->second.iterations;
      models.back()["kept_iteration"] = ppo->second.kept_iteration;
    }
    for (const auto& [key, interval] : model.measures)
      models.back()[key] = to_json(interval);
  }
  for (const auto& reward : results.rewards) {
    nlohmann::json accuracy = reward.at("accuracy");
    accuracy.erase("pairs");
    rewards.push_back({{"name", reward.at("name")}, {"accuracy", accuracy}});
    for (const char* key : {"best_possible_accuracy", "kept"})
      if (reward.contains(key)) rewards.back()[key] = reward.at(key);
    if (reward.contains("unsafe")) rewards.back()["unsafe_at_gate"] = reward.at("unsafe").at("at_gate");
  }
  for (const auto& [stage, time] : results.seconds)
    seconds[stage] = time;
  return {{"models", models}, {"reward_models", rewards}, {"seconds_by_stage", seconds}};
}

}  // namespace keel::pipelines::report
