// How often a reward model agrees with the annotator, overall and by preference strength (Llama 2 paper, tables 7 and 8).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"
#include "reward/model.h"

namespace keel::reward {

struct Agreement {
  int64_t correct = 0;  // pairs whose chosen answer scores strictly higher
  int64_t pairs = 0;
  double rate() const;  // correct / pairs; NaN without pairs
};

struct RewardEvaluation {
  Agreement all;
  std::array<Agreement, 5> by_strength;  // index 0..4 as TokenPair::strength; 0 = not recorded
  double loss = 0;                       // mean of -log sigmoid(chosen - rejected), without margin: comparable between margins
  double mean_difference = 0;            // chosen - rejected
};

// `chosen` and `rejected` are the raw scores of `pairs`, one each. Throws c10::Error when sizes differ or a score is not finite.
RewardEvaluation evaluate(std::span<const core::TokenPair> pairs, const std::vector<double>& chosen, const std::vector<double>& rejected);

RewardEvaluation evaluate(const RewardModel& model, std::span<const core::TokenPair> pairs, int64_t batch_tokens = 4096);

}  // namespace keel::reward
