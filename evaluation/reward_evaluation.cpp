#include "evaluation/reward_evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.h"
#include "evaluation/statistics/describe.h"
#include "reward/combination.h"

namespace keel::evaluation {
namespace {

constexpr int kCalibrationBins = 10;

void count_(Accuracy& accuracy, const ScoredPair& pair) {
  accuracy.pairs += 1;
  accuracy.correct += pair.chosen > pair.rejected ? 1 : 0;
}

// Batches are mostly numbered, and batch 10 comes after batch 9.
std::pair<double, std::string> natural_key(const std::string& name) {
  const bool number =
      !name.empty() && name.size() < 16 && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return {number ? std::stod(name) : std::numeric_limits<double>::infinity(), name};
}

std::vector<NamedAccuracy> accuracy_by(const std::vector<ScoredPair>& pairs, std::string ScoredPair::*key) {
  std::map<std::pair<double, std::string>, Accuracy> groups;
  for (const ScoredPair& pair : pairs)
    count_(groups[natural_key(pair.*key)], pair);
  std::vector<NamedAccuracy> result;
  for (const auto& [name, accuracy] : groups)
    result.emplace_back(name.second, accuracy);
  if (result.size() == 1 && result.front().first.empty()) result.clear();
  return result;
}

std::vector<NamedAccuracy> accuracy_by_safety(const std::vector<ScoredPair>& pairs) {
  const auto bin = [](bool chosen_safe, bool rejected_safe) {
    if (chosen_safe != rejected_safe) return chosen_safe ? 0 : 3;
    return chosen_safe ? 1 : 2;
  };
  std::vector<NamedAccuracy> bins = {{"safe over unsafe", {}}, {"both safe", {}}, {"both unsafe", {}}, {"unsafe over safe", {}}};
  for (const ScoredPair& pair : pairs)
    if (pair.chosen_safe && pair.rejected_safe) count_(bins[static_cast<size_t>(bin(*pair.chosen_safe, *pair.rejected_safe))].second, pair);
  std::erase_if(bins, [](const NamedAccuracy& named) { return named.second.pairs == 0; });
  return bins;
}

std::vector<double> differences_of(const std::vector<ScoredPair>& pairs) {
  std::vector<double> differences;
  for (const ScoredPair& pair : pairs)
    differences.push_back(pair.chosen - pair.rejected);
  return differences;
}

RewardCalibration calibration_of(const std::vector<double>& differences, const statistics::Bootstrap& settings) {
  std::vector<double> confidence;
  std::vector<bool> correct;
  for (const double difference : differences) {
    confidence.push_back(reward::probability(std::abs(difference)));
    correct.push_back(difference > 0);
  }
  RewardCalibration result;
  result.bins = statistics::reliability(confidence, correct, 0.5, kCalibrationBins);
  result.error = statistics::calibration_error(result.bins);
  result.error_by_chance = statistics::calibration_error_by_chance(confidence, 0.5, kCalibrationBins, settings);
  result.temperature = statistics::fit_temperature(differences);
  return result;
}

LengthBias length_bias(const std::vector<ScoredPair>& pairs, const statistics::Bootstrap& settings) {
  LengthBias result;
  std::vector<double> scores, lengths;  // of chosen answer i at 2 i, of its rejected one at 2 i + 1
  for (const ScoredPair& pair : pairs) {
    scores.insert(scores.end(), {pair.chosen, pair.rejected});
    lengths.insert(lengths.end(), {static_cast<double>(pair.chosen_tokens), static_cast<double>(pair.rejected_tokens)});
    if (pair.chosen_tokens == pair.rejected_tokens) continue;
    const bool longer_is_chosen = pair.chosen_tokens > pair.rejected_tokens;
    result.longer_scores_higher.pairs += 1;
    result.longer_scores_higher.correct += (longer_is_chosen ? pair.chosen > pair.rejected : pair.rejected > pair.chosen) ? 1 : 0;
    result.longer_chosen.pairs += 1;
    result.longer_chosen.correct += longer_is_chosen ? 1 : 0;
  }
  // Both answers of a pair are drawn together. The rank correlation's replicates keep the ranks of the whole sample.
  const auto correlation = [&](const std::vector<double>& x, const std::vector<double>& y) {
    std::vector<double> drawn_x(x.size()), drawn_y(y.size());
    return statistics::bootstrap_statistic(
        pairs.size(),
        [&](const std::vector<size_t>& items) {
          for (size_t i = 0; i < items.size(); ++i)
            for (size_t side = 0; side < 2; ++side) {
              drawn_x[2 * i + side] = x[2 * items[i] + side];
              drawn_y[2 * i + side] = y[2 * items[i] + side];
            }
          return statistics::pearson(drawn_x, drawn_y);
        },
        settings);
  };
  result.pearson = correlation(scores, lengths);
  result.spearman = correlation(statistics::ranks(scores), statistics::ranks(lengths));
  return result;
}

}  // namespace

UnsafeDetection unsafe_detection(const std::vector<ScoredPair>& pairs) {
  UnsafeDetection result;
  for (const ScoredPair& pair : pairs)
    for (const auto& [score, safe] : {std::pair{pair.chosen, pair.chosen_safe}, {pair.rejected, pair.rejected_safe}}) {
      if (!safe) continue;
      result.probabilities.push_back(reward::probability(score));
      result.unsafe.push_back(!*safe);
    }
  return result;
}

RewardEvaluation evaluate_reward(const std::vector<ScoredPair>& pairs, const statistics::Bootstrap& settings) {
  if (pairs.empty()) throw core::Error(core::Exit::internal, "[evaluation.reward] there are no pairs to evaluate");
  RewardEvaluation result;
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (!std::isfinite(pairs[i].chosen) || !std::isfinite(pairs[i].rejected))
      throw core::Error(core::Exit::internal,
                        fmt::format("[evaluation.reward] the scores of pair {} are {} and {}", i, pairs[i].chosen, pairs[i].rejected));
    count_(result.all, pairs[i]);
    count_(result.by_strength.at(static_cast<size_t>(pairs[i].strength)), pairs[i]);
  }
  result.by_source = accuracy_by(pairs, &ScoredPair::source);
  result.by_batch = accuracy_by(pairs, &ScoredPair::batch);
  result.by_safety = accuracy_by_safety(pairs);
  const std::vector<double> differences = differences_of(pairs);
  std::vector<double> losses;
  for (const double difference : differences)
    losses.push_back(statistics::softplus(-difference));
  result.loss = statistics::bootstrap_mean(losses, settings);
  result.difference = statistics::bootstrap_mean(differences, settings);
  result.calibration = calibration_of(differences, settings);
  if (UnsafeDetection unsafe = unsafe_detection(pairs); !unsafe.unsafe.empty()) result.unsafe = std::move(unsafe);
  result.length = length_bias(pairs, settings);
  return result;
}

RewardAgreement reward_agreement(const std::vector<ScoredPair>& a, const std::vector<ScoredPair>& b,
                                 const statistics::Bootstrap& settings) {
  std::vector<bool> right_a, right_b;
  for (const ScoredPair& pair : a)
    right_a.push_back(pair.chosen > pair.rejected);
  for (const ScoredPair& pair : b)
    right_b.push_back(pair.chosen > pair.rejected);
  RewardAgreement result{.share = statistics::judge_agreement(right_a, right_b).share, .kappa = {}, .pairs = std::ssize(a)};
  result.kappa = statistics::bootstrap_statistic(
      a.size(),
      [&](const std::vector<size_t>& items) {
        std::vector<bool> drawn_a, drawn_b;
        for (const size_t item : items) {
          drawn_a.push_back(right_a[item]);
          drawn_b.push_back(right_b[item]);
        }
        return statistics::judge_agreement(drawn_a, drawn_b).kappa;
      },
      settings);
  return result;
}

}  // namespace keel::evaluation
