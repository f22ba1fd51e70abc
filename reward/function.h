// The reward of answers: Rc of the paper (3.2.3), and which reward model it comes from.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "core/types.h"
#include "reward/combination.h"
#include "reward/model.h"

namespace keel::reward {

struct AnswerReward {
  double probability = 0;       // Rc, in [0, 1]
  bool safety_prompt = false;   // the prompt is about safety
  bool safety_decides = false;  // Rc is Rs: a safety prompt, or the gate
  // Probability by each model, in [0, 1]; NaN where there is no such model.
  double helpfulness = std::numeric_limits<double>::quiet_NaN();
  double safety = std::numeric_limits<double>::quiet_NaN();
};

// One reward an answer; Sample::prompt is the index into the prompts that the function was made for. It must throw if a score is missing.
using RewardFunction = std::function<std::vector<AnswerReward>(const std::vector<core::Sample>&)>;

// One reward model alone: the probability of its raw score. Holds a reference to the prompts.
RewardFunction plain_reward(ScoreRows model, const std::vector<core::Ids>& prompts);

// The paper's reward: both models score prompt + answer, the safety model decides where `is_safety[prompt]` or where its score is low.
// Holds a reference to the prompts.
RewardFunction gated_reward(ScoreRows helpfulness, ScoreRows safety, const std::vector<core::Ids>& prompts, std::vector<bool> is_safety,
                            const CombinationConfig& config);

}  // namespace keel::reward
