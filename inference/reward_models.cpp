#include "inference/reward_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"

namespace keel::inference {
namespace {

// "helpfulness", "safety" or "refusal" where keel.json says what the model was trained for, else "".
std::string trained_for(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / "keel.json")) return {};
  const nlohmann::json object = core::read_json_file(folder / "keel.json");
  const auto kind = object.is_object() ? object.value("/lineage/kind"_json_pointer, nlohmann::json()) : nlohmann::json();
  return kind.is_string() ? kind.get<std::string>() : std::string();
}

}  // namespace

void check_reward_kinds(const std::filesystem::path& helpfulness, const std::filesystem::path& safety) {
  for (const auto& folder : {helpfulness, safety})
    if (!folder.empty() && trained_for(folder) == "refusal")
      throw core::UsageError(fmt::format("{} is a classifier of refusals, not a reward model: give the latter", folder.string()));
  if (!helpfulness.empty() && trained_for(helpfulness) == "safety")
    throw core::UsageError(
        fmt::format("{} is a safety reward model, given as the helpfulness model: exchange the two", helpfulness.string()));
  if (!safety.empty() && trained_for(safety) == "helpfulness")
    throw core::UsageError(fmt::format("{} is a helpfulness reward model, given as the safety model: exchange the two", safety.string()));
}

void check_refusal_classifier(const std::filesystem::path& folder) {
  if (trained_for(folder) != "refusal")
    throw core::UsageError(
        fmt::format("{} is no classifier of refusals (keel.json: lineage.kind): keel refusal train makes one", folder.string()));
}

RewardModels load_reward_models(const std::filesystem::path& helpfulness, const std::filesystem::path& safety,
                                const std::filesystem::path& policy) {
  check_reward_kinds(helpfulness, safety);
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

reward::CombinationConfig recorded_gate(const std::filesystem::path& safety) {
  reward::CombinationConfig config;
  auto folder = std::filesystem::absolute(safety).lexically_normal();  // "safety/", "." and links name the same folder
  if (!folder.has_filename()) folder = folder.parent_path();
  auto file = folder.parent_path() / "combination.json";
  if (!std::filesystem::exists(file) && std::filesystem::is_symlink(folder))
    file = (folder.parent_path() / std::filesystem::read_symlink(folder)).lexically_normal().parent_path() / file.filename();
  if (!std::filesystem::exists(file)) {
    core::log_warn(
        fmt::format("{} is missing: the gate is the paper's {}, whatever the run of this model had; --gate-threshold sets another",
                    file.string(), config.gate_threshold));
    return config;
  }
  std::vector<std::string> problems;
  core::assign_file(core::fields_of(config), file, problems);
  core::throw_if_any(std::move(problems));
  return config;
}

std::vector<std::string> unread_combination(const reward::CombinationConfig& config) {
  std::vector<std::string> problems;
  for (const auto& field : core::set_fields(config))
    problems.push_back(
        fmt::format("combination.{}: nothing reads it without a safety reward model; give --safety-reward, or leave it out", field.name));
  return problems;
}

}  // namespace keel::inference
