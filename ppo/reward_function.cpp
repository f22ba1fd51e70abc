#include "ppo/reward_function.h"

#include <c10/util/Exception.h>

#include <utility>

namespace keel::ppo {

namespace {

std::vector<core::Ids> answered(const std::vector<core::Ids>& prompts, const std::vector<core::Sample>& samples) {
  std::vector<core::Ids> rows;
  for (const core::Sample& sample : samples)
    rows.push_back(core::joined(prompts.at(static_cast<size_t>(sample.prompt)), sample.ids));
  return rows;
}

}  // namespace

RewardFunction plain_reward(const reward::RewardModel& model, const std::vector<core::Ids>& prompts) {
  return [&](const std::vector<core::Sample>& samples) {
    std::vector<AnswerReward> rewards;
    for (const double score : reward::score_rows(model, answered(prompts, samples))) {
      const double probability = reward::probability(score);
      rewards.push_back({.probability = probability, .helpfulness = probability});
    }
    return rewards;
  };
}

RewardFunction gated_reward(const reward::RewardModel& helpfulness, const reward::RewardModel& safety,
                            const std::vector<core::Ids>& prompts, std::vector<bool> is_safety, const reward::CombinationConfig& config) {
  TORCH_CHECK(is_safety.size() == prompts.size(), "[ppo.gated_reward] need one is_safety for each of ", prompts.size(), " prompts, got ",
              is_safety.size());
  return [&helpfulness, &safety, &prompts, is_safety = std::move(is_safety), config](const std::vector<core::Sample>& samples) {
    const std::vector<core::Ids> rows = answered(prompts, samples);
    const auto helpful = reward::score_rows(helpfulness, rows), safe = reward::score_rows(safety, rows);
    std::vector<AnswerReward> rewards;
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool tagged = is_safety[static_cast<size_t>(samples[i].prompt)];
      rewards.push_back({.probability = reward::combined_probability(helpful[i], safe[i], tagged, config),
                         .safety_prompt = tagged,
                         .safety_decides = reward::safety_decides(safe[i], tagged, config),
                         .helpfulness = reward::probability(helpful[i]),
                         .safety = reward::probability(safe[i])});
    }
    return rewards;
  };
}

}  // namespace keel::ppo
