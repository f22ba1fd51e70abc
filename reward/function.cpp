#include "reward/function.h"

#include <c10/util/Exception.h>

#include <utility>

namespace keel::reward {

namespace {

std::vector<core::Ids> answered(const std::vector<core::Ids>& prompts, const std::vector<core::Sample>& samples) {
  std::vector<core::Ids> rows;
  for (const core::Sample& sample : samples)
    rows.push_back(core::joined(prompts.at(static_cast<size_t>(sample.prompt)), sample.ids));
  return rows;
}

}  // namespace

RewardFunction plain_reward(ScoreRows model, const std::vector<core::Ids>& prompts) {
  return [model = std::move(model), &prompts](const std::vector<core::Sample>& samples) {
    std::vector<AnswerReward> rewards;
    for (const double logit : model(answered(prompts, samples))) {
      const double earned = probability(logit);
      rewards.push_back({.probability = earned, .helpfulness = earned});
    }
    return rewards;
  };
}

RewardFunction gated_reward(ScoreRows helpfulness, ScoreRows safety, const std::vector<core::Ids>& prompts, std::vector<bool> is_safety,
                            const CombinationConfig& config) {
  TORCH_CHECK(is_safety.size() == prompts.size(), "[reward.gated_reward] need one is_safety for each of ", prompts.size(), " prompts, got ",
              is_safety.size());
  return [helpfulness = std::move(helpfulness), safety = std::move(safety), &prompts, is_safety = std::move(is_safety),
          config](const std::vector<core::Sample>& samples) {
    const std::vector<core::Ids> rows = answered(prompts, samples);
    const auto helpful = helpfulness(rows), safe = safety(rows);
    std::vector<AnswerReward> rewards;
    for (size_t i = 0; i < rows.size(); ++i) {
      const bool tagged = is_safety[static_cast<size_t>(samples[i].prompt)];
      rewards.push_back({.probability = combined_probability(helpful[i], safe[i], tagged, config),
                         .safety_prompt = tagged,
                         .safety_decides = safety_decides(safe[i], tagged, config),
                         .helpfulness = probability(helpful[i]),
                         .safety = probability(safe[i])});
    }
    return rewards;
  };
}

}  // namespace keel::reward
