// The PPO loop (Llama 2 paper, 3.2.3): sample, score, assess, update; checkpoints and metrics.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ppo/config.h"
#include "reward/combination.h"
#include "reward/model.h"

namespace keel::ppo {

// Rc of each answer, in [0, 1]; Sample::prompt is the index into the prompts of the job. A score that is missing must throw.
using RewardFunction = std::function<std::vector<double>(const std::vector<core::Sample>&)>;

// One reward model alone: the probability of its raw score. Holds references to model and prompts.
RewardFunction plain_reward(const reward::RewardModel& model, const std::vector<core::Ids>& prompts);

// The paper's: both models score prompt + answer, the safety model decides where `is_safety[prompt]` or where its score is low.
// Holds references to models and prompts.
RewardFunction gated_reward(const reward::RewardModel& helpfulness, const reward::RewardModel& safety,
                            const std::vector<core::Ids>& prompts, std::vector<bool> is_safety, const reward::CombinationConfig& config);

// A critic as the config says: a copy of the reward model, or the policy's backbone with a zero head.
reward::RewardModel make_critic(const PpoConfig& config, const policy::Llama& policy, const reward::RewardModel& reward_model);

struct PpoJob {
  std::vector<core::Ids> prompts;  // drawn in a new random order every time round
  std::vector<int64_t> stop_ids;   // end an answer
  RewardFunction reward;
};

// Seconds that this process spent, by phase.
struct PpoTimes {
  double generation = 0, scoring = 0, assessment = 0, update = 0;
};

// Runs config.iterations in `folder` (metrics.jsonl, TensorBoard events, ckpt/), from its last checkpoint if there is one; `policy` and
// `critic` are trained in place and must be given as they were at the start. Weights and metrics end bit for bit as those of an
// uninterrupted run on the same machine and thread count. Throws core::Interrupted after a checkpoint on SIGTERM, core::ConfigError, and
// core::DataError for a checkpoint that began from another policy.
PpoTimes train(const policy::Llama& policy, const reward::RewardModel& critic, const PpoJob& job, const PpoConfig& config, uint64_t seed,
               const std::filesystem::path& folder);

}  // namespace keel::ppo
