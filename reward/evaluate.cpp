#include "reward/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace keel::reward {

double Agreement::rate() const {
  return pairs > 0 ? static_cast<double>(correct) / static_cast<double>(pairs) : std::numeric_limits<double>::quiet_NaN();
}

RewardEvaluation evaluate(std::span<const core::TokenPair> pairs, const std::vector<double>& chosen, const std::vector<double>& rejected) {
  TORCH_CHECK(chosen.size() == pairs.size() && rejected.size() == pairs.size(),
              "[reward.evaluate] need one chosen and one rejected score for ", pairs.size(), " pairs, got ", chosen.size(), " and ",
              rejected.size());
  RewardEvaluation result;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const double difference = chosen[i] - rejected[i];
    TORCH_CHECK(std::isfinite(difference), "[reward.evaluate] the scores of pair ", i, " are ", chosen[i], " and ", rejected[i]);
    for (Agreement* agreement : {&result.all, &result.by_strength.at(static_cast<size_t>(pairs[i].strength))}) {
      agreement->pairs += 1;
      agreement->correct += difference > 0 ? 1 : 0;
    }
    result.loss += std::max(-difference, 0.0) + std::log1p(std::exp(-std::abs(difference)));
    result.mean_difference += difference;
  }
  const auto count = static_cast<double>(std::max<size_t>(pairs.size(), 1));
  result.loss /= count;
  result.mean_difference /= count;
  return result;
}

RewardEvaluation evaluate(const RewardModel& model, std::span<const core::TokenPair> pairs, int64_t batch_tokens) {
  std::vector<core::Ids> rows;
  for (const core::TokenPair& pair : pairs) {
    rows.push_back(pair.chosen);
    rows.push_back(pair.rejected);
  }
  const std::vector<double> scores = score_rows(model, rows, batch_tokens);
  std::vector<double> chosen, rejected;
  for (size_t i = 0; i < scores.size(); i += 2) {
    chosen.push_back(scores[i]);
    rejected.push_back(scores[i + 1]);
  }
  return evaluate(pairs, chosen, rejected);
}

}  // namespace keel::reward
