#include "pipelines/forecast/forecast.h"

#include <algorithm>
#include <utility>

#include "pipelines/forecast/memory.h"
#include "pipelines/forecast/work.h"

namespace keel::pipelines::forecast {
namespace {

using recipe::SourceKind;

constexpr double kProgram = 0.25e9;  // bytes of the program and its libraries
constexpr std::pair<SourceKind, const char*> kGold[] = {{SourceKind::helpfulness, recipe::kGoldHelpfulness},
                                                        {SourceKind::safety, recipe::kGoldSafety}};

void add_(std::vector<StageForecast>& stages, const std::string& stage, Work work, double bytes) {
  stages.push_back({stage, std::move(work), bytes + kProgram});
}

// Pairs of all kinds but one, for mixtures.
Rows others_until(const Run& run, const recipe::Version& version, SourceKind kind) {
  Rows others;
  for (const SourceKind other : {SourceKind::helpfulness, SourceKind::safety, SourceKind::public_pairs})
    if (other != kind) others += pairs_until(run, version, other).train;
  return others;
}

void add_reward_(std::vector<StageForecast>& stages, const Run& run, const recipe::Version& version, SourceKind kind,
                 const std::string& stage) {
  if (std::ranges::any_of(stages, [&](const auto& known) { return known.stage == stage; })) return;  // kept from the version before
  const bool first = version.number == 1, helpfulness = kind == SourceKind::helpfulness;
  if (first && !recipe::begins_with(run.recipe, kind)) return add_(stages, stage, {}, 2 * run.held_bytes());  // a team's own is copied
  const auto& given = helpfulness ? run.recipe.reward.first.helpfulness : run.recipe.reward.first.safety;
  const double rest = helpfulness ? run.recipe.mixture.helpfulness_rest : run.recipe.mixture.safety_rest;
  add_(stages, stage, reward_work(run, pairs_until(run, version, kind), others_until(run, version, kind), rest, !first || !given.empty()),
       reward_bytes(run));
}

void add_version_(std::vector<StageForecast>& stages, const Run& run, const recipe::Version& version) {
  const recipe::Recipe& recipe = run.recipe;
  const double length = row_length(run), dialogue = run.facts.turns * length;
  if (!version.comparisons.empty())
    add_(stages, version.comparisons, comparison_work(run, version),
         scoring_bytes(run, version.number > 1 ? 2 : 1) + cache_bytes(run, 64, length));
  add_reward_(stages, run, version, SourceKind::helpfulness, version.helpfulness);
  add_reward_(stages, run, version, SourceKind::safety, version.safety);
  if (version.number == 1 && recipe::has_general_reward(recipe))
    add_(stages, recipe::kGeneralReward, reward_work(run, pairs_until(run, version, SourceKind::public_pairs), {}, 0, false),
         reward_bytes(run));
  if (version.number == 1)
    for (const auto& [kind, stage] : kGold)
      if (const auto pairs = run.facts.gold.find(kind); pairs != run.facts.gold.end())
        add_(stages, stage, reward_work(run, pairs->second, {}, 0, false), reward_bytes(run));
  if (!version.gatt.empty())
    add_(stages, version.gatt, gatt_work(run), scoring_bytes(run, 1) + cache_bytes(run, recipe.gatt.answers.batch_rows, dialogue));
  if (!version.distill.empty())
    add_(stages, version.distill, distillation_work(run),
         scoring_bytes(run, 2) + cache_bytes(run, recipe.distill.answers.batch_rows, length));
  if (!version.rejection.empty()) add_(stages, version.rejection, rejection_work(run, version), rejection_bytes(run));
  if (!version.ppo.empty()) add_(stages, version.ppo, ppo_work(run), ppo_bytes(run));
}

}  // namespace

std::vector<StageForecast> forecast(const recipe::Recipe& recipe, const policy::LlamaConfig& shape, const Facts& facts,
                                    const Numbers& numbers) {
  const Run run{.recipe = recipe,
                .shape = shape,
                .cost = cost_of(shape),
                .facts = facts,
                .numbers = numbers,
                .versions = recipe::versions_of(recipe)};
  std::vector<StageForecast> stages;
  if (recipe::from_sandbox(recipe)) add_(stages, "base", pretraining_work(run), tuning_bytes(run, recipe.pretrain.batch, {}));
  if (recipe.sft.enabled) add_(stages, "sft", sft_work(run), tuning_bytes(run, recipe.sft.batch, recipe.sft.lora));
  for (const recipe::Version& version : run.versions)
    add_version_(stages, run, version);
  const int64_t rows = recipe.evaluation.batch_rows;
  add_(stages, "evaluation", evaluation_work(run), scoring_bytes(run, 2 + reward_models(run)) + cache_bytes(run, rows, row_length(run)));
  if (recipe.best_of.samples > 0)
    add_(stages, "best_of", best_of_work(run), scoring_bytes(run, 3) + cache_bytes(run, rows, row_length(run)));
  if (recipe::has_gatt(recipe))
    add_(stages, "gatt_evaluation", retention_work(run),
         scoring_bytes(run, 1) + cache_bytes(run, recipe.gatt.answers.batch_rows, facts.turns * row_length(run)));
  return stages;
}

}  // namespace keel::pipelines::forecast
