// The reward models that say what answers are worth, as folders, and the paper's combination of them (3.2.3).
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

// `safety` may be "". DataError where a model reads other ids or another chat format than `policy` writes: the ids of its answers are
// scored as they are.
RewardModels load_reward_models(const std::filesystem::path& helpfulness, const std::filesystem::path& safety,
                                const std::filesystem::path& policy);

// What an answer to one of `prompts` earns: the combined score, or, without a safety model, the helpfulness score alone, with a warning
// where `hazard` marks prompts. Holds references to models and prompts.
reward::RewardFunction reward_function(const RewardModels& models, const std::vector<core::Ids>& prompts, const std::vector<bool>& hazard,
                                       const reward::CombinationConfig& config);

// Settings of the combination that nothing reads where there is no safety model.
std::vector<std::string> unread_combination(const reward::CombinationConfig& config);

}  // namespace keel::inference
