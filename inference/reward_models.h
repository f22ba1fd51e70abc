// Loads the reward models that score answers, and combines them as the paper does (3.2.3).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "inference/model_folder.h"
#include "reward/combination.h"
#include "reward/function.h"

namespace keel::inference {

struct RewardModels {
  ScoringModel helpfulness;
  std::optional<ScoringModel> safety;
};

// "helpfulness", "safety" or "refusal" where keel.json of a folder, or a service, says what the model was trained for, else "".
std::string trained_for(const std::filesystem::path& folder);

// UsageError where keel.json of a folder says that the model was trained for the other kind (the two are confused easily) or is a
// classifier of refusals. Either may be "".
void check_reward_kinds(const std::filesystem::path& helpfulness, const std::filesystem::path& safety);

// UsageError unless keel.json says that the folder holds a classifier of refusals.
void check_refusal_classifier(const std::filesystem::path& folder);

// A reward model that scores a policy's ids: a folder, or an address of keel serve (inference/remote_reward.h), whose shape alone is here.
// DataError when its tokenizer or chat format differs from that of `policy`.
ScoringModel load_scoring_model_for(const std::filesystem::path& model, const std::filesystem::path& policy);

// The same for two; `safety` may be "".
RewardModels load_reward_models(const std::filesystem::path& helpfulness, const std::filesystem::path& safety,
                                const std::filesystem::path& policy);

// The reward of answers to `prompts`: the combined score, or, without a safety model, the helpfulness score alone, with a warning where
// `hazard` marks prompts. Holds a reference to the prompts.
reward::RewardFunction reward_function(const RewardModels& models, const std::vector<core::Ids>& prompts, const std::vector<bool>& hazard,
                                       const reward::CombinationConfig& config);

// The gate of the run that made the safety model (keel run writes combination.json beside its reward models), else the paper's, with a
// warning.
reward::CombinationConfig recorded_gate(const std::filesystem::path& safety);

// Settings of the combination that have no effect without a safety model.
std::vector<std::string> unread_combination(const reward::CombinationConfig& config);

}  // namespace keel::inference
