#include "pipelines/report/summary.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/version.h"
#include "evaluation/assemble.h"
#include "evaluation/statistics/json.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/report/gatt_section.h"
#include "pipelines/report/reward_section.h"
#include "pipelines/report/sections.h"

namespace keel::pipelines::report {

namespace {

const std::vector<evaluation::Measure> kGoldMeasures = {{"gold_helpfulness", "gold helpfulness"}, {"gold_safety", "gold safety"},
                                                        {"violation_rate", "violation rate"},     {"false_refusal_rate", "false refusals"},
                                                        {"win_rate_vs_sft", "win rate vs SFT"},   {"kl_to_sft", "KL to SFT"}};
const std::vector<evaluation::Measure> kRewardMeasures = {{"reward_helpfulness", "helpfulness RM"},
                                                          {"reward_safety", "safety RM"},
                                                          {"refusal_rate", "harmless refused"},
                                                          {"hazard_refusal_rate", "hazards refused"},
                                                          {"reward_win_rate_vs_sft", "RM win rate vs SFT"},
                                                          {"kl_to_sft", "KL to SFT"}};

evaluation::Table summary_table(bool gold, const std::vector<evaluation::MeasuredModel>& models) {
  return evaluation::measure_table("", gold ? kGoldMeasures : kRewardMeasures, models);
}

}  // namespace

void write_run_report(const recipe::Recipe& recipe, const Folders& folders, const std::filesystem::path& work) {
  const Results results = read_results(recipe, folders);
  core::write_file(work / "summary.json", summary_json(results).dump(2) + "\n");
  evaluation::Report report{.title = "keel run: " + recipe.name,
                            .subtitle = "From a base model to an aligned one, measured on held-out prompts",
                            .facts = {{"recipe", recipe.name},
                                      {"seed", fmt::format("{}", recipe.seed)},
                                      {"data", core::name_of(recipe.data.source)},
                                      {"keel", core::kVersion}},
                            .models = {},
                            .summary = summary_table(results.gold, results.models),
                            .sections = {}};
  for (const auto& model : results.models)
    report.models.push_back(model.name);
  report.summary.note =
      "Means over held-out prompts with 95 % intervals: Wilson's for violations and refusals, the bootstrap for the others; KL in nats an "
      "answer at temperature 1.";
  report.sections = {win_section(results)};
  if (auto versions = version_section(recipe, results, folders); !versions.blocks.empty()) report.sections.push_back(std::move(versions));
  report.sections.insert(report.sections.end(),
                         {reward_model_section(results.rewards, results.reward_stages, folders, recipe.combination.gate_threshold),
                          distribution_section(recipe, results)});
  if (auto selection = selection_section(recipe, folders); !selection.blocks.empty()) report.sections.push_back(std::move(selection));
  report.sections.push_back(loss_section(recipe, results, folders));
  for (const auto& version : recipe::versions_of(recipe))
    if (!version.ppo.empty()) report.sections.push_back(ppo_section(results, folders, version.ppo));
  if (recipe::has_distillation(recipe)) report.sections.push_back(distill_section(recipe, folders));
  if (folders.has("gatt_evaluation")) report.sections.push_back(gatt_section(folders.at("gatt_evaluation")));
  if (folders.has("best_of")) report.sections.push_back(best_of_section(folders));
  if (!results.by_family.empty()) report.sections.push_back(family_section(results));
  report.sections.push_back(dialogue_section(recipe, results));
  report.sections.push_back(record_section(recipe, results, folders));
  core::write_file(work / "report.html", evaluation::render_html(report));
}

namespace {

// How a model compares with another one: by the gold judge, or else by the reward models.
std::string comparison_text(const nlohmann::json& row, const std::string& other) {
  const std::string models = fmt::format("{} against {}", row.at("name").get<std::string>(), row.at(other).get<std::string>());
  std::string text;
  for (const auto& [key, what] : {std::pair{"gold_helpfulness_vs_", "gold helpfulness"}, {"gold_safety_vs_", "gold safety"}})
    if (const auto found = row.find(key + other); found != row.end()) {
      const auto difference = evaluation::statistics::interval_from_json(*found);
      text += fmt::format("{}: {} {:+.3f} [{:+.3f}, {:+.3f}]\n", models, what, difference.mean, difference.low, difference.high);
    }
  if (!text.empty()) return text;
  const auto share = evaluation::statistics::interval_from_json(row.at("reward_win_rate_vs_" + other));
  return fmt::format("{}: win rate by the reward models {:.3f} [{:.3f}, {:.3f}]\n", models, share.mean, share.low, share.high);
}

}  // namespace

std::string summary_text(const std::filesystem::path& summary) {
  const nlohmann::json object = core::read_json_file(summary);
  std::vector<evaluation::MeasuredModel> models;
  bool gold = false;
  for (const auto& row : object.at("models")) {
    models.push_back({.name = row.at("name").get<std::string>(), .measures = {}, .counts = {}});
    gold = gold || row.contains("gold_safety");
    for (const auto& [key, value] : row.items())
      if (value.is_object()) models.back().measures[key] = evaluation::statistics::interval_from_json(value);
  }
  std::string text = evaluation::render_text(summary_table(gold, models));
  for (const auto& row : object.at("models")) {
    const std::string name = row.at("name");
    for (const std::string other : {"before", "version_before"})
      if (row.contains(other)) text += comparison_text(row, other);
    if (row.contains("kept_iteration"))
      text += fmt::format(
          "{}: {}\n", name,
          to_text({.iterations = row.at("iterations").get<int64_t>(), .kept_iteration = row.at("kept_iteration").get<int64_t>()}));
  }
  for (const auto& reward : object.at("reward_models")) {
    const auto accuracy = evaluation::statistics::interval_from_json(reward.at("accuracy"));
    text += fmt::format("{} reward model: held-out accuracy {:.3f} [{:.3f}, {:.3f}]", reward.at("name").get<std::string>(), accuracy.mean,
                        accuracy.low, accuracy.high);
    if (reward.contains("best_possible_accuracy"))
      text += fmt::format(", best possible {:.3f}", reward.at("best_possible_accuracy").get<double>());
    if (reward.contains("kept")) text += fmt::format("; {} stays", reward.at("kept").get<std::string>());
    text += "\n";
  }
  return text;
}

}  // namespace keel::pipelines::report
