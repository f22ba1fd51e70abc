#include "inference/reward_models.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "inference/remote_reward.h"

namespace keel::inference {

std::string trained_for(const std::filesystem::path& folder) {
  if (is_remote(folder)) {
    const nlohmann::json metadata = RewardClient(folder.string()).metadata();
    const auto kind = metadata.is_object() ? metadata.value("/lineage/kind"_json_pointer, nlohmann::json()) : nlohmann::json();
    return kind.is_string() ? kind.get<std::string>() : std::string();
  }
  if (!std::filesystem::exists(folder / "keel.json")) return {};
  const nlohmann::json object = core::read_json_file(folder / "keel.json");
  const auto kind = object.is_object() ? object.value("/lineage/kind"_json_pointer, nlohmann::json()) : nlohmann::json();
  return kind.is_string() ? kind.get<std::string>() : std::string();
}

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

ScoringModel load_scoring_model_for(const std::filesystem::path& model, const std::filesystem::path& policy) {
  if (!is_remote(model)) {
    require_same_text(model, policy);
    return load_scoring_model(model);
  }
  const auto client = std::make_shared<const RewardClient>(model.string());
  const nlohmann::json& metadata = client->metadata();
  if (!metadata.is_object())
    throw core::UsageError(fmt::format("{} is a combination of models: give each by its name, {}/rm/NAME", model.string(), model.string()));
  const data::ChatFormat format = chat_format_of(policy);
  if (metadata.value("tokenizer", "") != tokenizer_digest(policy) || metadata.value("chat_format", "") != data::describe(format))
    throw core::DataError(
        model, 0,
        fmt::format("reads text with another tokenizer or chat format than {}: its scores would be of other text", policy.string()));
  return {
      .weights = {},
      .score = [client](const std::vector<core::Ids>& rows) { return client->score(rows); },
      .shape = {.vocab_size = metadata.value("vocab_size", int64_t{0}), .max_position_embeddings = metadata.value("context", int64_t{0})},
      .tokenizer = load_tokenizer(policy),
      .limit = {.max_tokens = metadata.value("max_tokens", int64_t{0}), .drop_oldest_turns = metadata.value("drop_oldest_turns", false)},
      .format = format};
}

RewardModels load_reward_models(const std::filesystem::path& helpfulness, const std::filesystem::path& safety,
                                const std::filesystem::path& policy) {
  check_reward_kinds(helpfulness, safety);
  RewardModels models{.helpfulness = load_scoring_model_for(helpfulness, policy), .safety = {}};
  if (!safety.empty()) models.safety = load_scoring_model_for(safety, policy);
  return models;
}

reward::RewardFunction reward_function(const RewardModels& models, const std::vector<core::Ids>& prompts, const std::vector<bool>& hazard,
                                       const reward::CombinationConfig& config) {
  if (models.safety) return reward::gated_reward(models.helpfulness.score, models.safety->score, prompts, hazard, config);
  if (const auto marked = std::count(hazard.begin(), hazard.end(), true); marked > 0)
    core::log_warn(fmt::format(
        "{} of {} prompts have \"hazard\": true, which nothing reads without a safety reward model: the helpfulness model scores "
        "their answers too",
        marked, hazard.size()));
  return reward::plain_reward(models.helpfulness.score, prompts);
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
