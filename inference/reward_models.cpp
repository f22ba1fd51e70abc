#include "inference/reward_models.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/log.h"

namespace keel::inference {

RewardModels load_reward_models(const std::filesystem::path& helpfulness, const std::filesystem::path& safety,
                                const std::filesystem::path& policy) {
  require_same_text(helpfulness, policy);
  RewardModels models{.helpfulness = load_scoring_model(helpfulness), .safety = {}};
  if (safety.empty()) return models;
  require_same_text(safety, policy);
  models.safety = load_scoring_model(safety);
  return models;
}

reward::RewardFunction reward_function(const RewardModels& models, const std::vector<core::Ids>& prompts, const std::vector<bool>& hazard,
                                       const reward::CombinationConfig& config) {
  if (models.safety) return reward::gated_reward(models.helpfulness.model, models.safety->model, prompts, hazard, config);
  if (const auto marked = std::count(hazard.begin(), hazard.end(), true); marked > 0)
    core::log_warn(fmt::format(
        "{} of {} prompts have \"hazard\": true, which nothing reads without a safety reward model: the helpfulness model scores "
        "their answers too",
        marked, hazard.size()));
  return reward::plain_reward(models.helpfulness.model, prompts);
}

std::vector<std::string> unread_combination(const reward::CombinationConfig& config) {
  std::vector<std::string> problems;
  for (const auto& field : core::set_fields(config))
    problems.push_back(
        fmt::format("combination.{}: nothing reads it without a safety reward model; give --safety-reward, or leave it out", field.name));
  return problems;
}

}  // namespace keel::inference
