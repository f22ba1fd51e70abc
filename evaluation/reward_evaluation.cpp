#include "evaluation/reward_evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.h"
#include "evaluation/statistics/describe.h"
#include "reward/combination.h"

namespace keel::evaluation {
namespace {

constexpr int kCalibrationBins = 10;

// For each pair the number of its prompt, 0, 1, ... in the order of their first pairs.
std::vector<size_t> prompts_of(const std::vector<ScoredPair>& pairs) {
  std::map<int64_t, size_t> known;
  std::vector<size_t> prompts;
  size_t count = 0;
  for (const ScoredPair& pair : pairs) {
    const auto [place, fresh] = pair.prompt ? known.try_emplace(*pair.prompt, count) : std::pair{known.end(), true};
    prompts.push_back(fresh ? count++ : place->second);
  }
  return prompts;
}

// The pairs of each prompt.
std::vector<std::vector<size_t>> by_prompt(const std::vector<size_t>& prompts) {
  std::vector<std::vector<size_t>> groups;
  for (size_t pair = 0; pair < prompts.size(); ++pair) {
    groups.resize(std::max(groups.size(), prompts[pair] + 1));
    groups[prompts[pair]].push_back(pair);
  }
  return groups;
}

statistics::Interval mean_over_prompts(const std::vector<double>& values, const std::vector<size_t>& prompts,
                                       const statistics::Bootstrap& settings) {
  return statistics::bootstrap_over_prompts(
      by_prompt(prompts),
      [&](const std::vector<size_t>& drawn) {
        double sum = 0;
        for (const size_t pair : drawn)
          sum += values[pair];
        return sum / static_cast<double>(drawn.size());
      },
      settings);
}

bool is_right(const ScoredPair& pair) {
  return pair.chosen > pair.rejected;
}

Accuracy accuracy_of(const statistics::Tally& tally) {
  return {.correct = tally.all().successes, .pairs = tally.all().trials, .interval = tally.interval()};
}

// Batches are mostly numbered, and batch 10 comes after batch 9.
std::pair<double, std::string> natural_key(const std::string& name) {
  const bool number =
      !name.empty() && name.size() < 16 && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  return {number ? std::stod(name) : std::numeric_limits<double>::infinity(), name};
}

std::vector<NamedAccuracy> accuracy_by(const std::vector<ScoredPair>& pairs, const std::vector<size_t>& prompts,
                                       std::string ScoredPair::*key) {
  std::map<std::pair<double, std::string>, statistics::Tally> groups;
  for (size_t i = 0; i < pairs.size(); ++i)
    groups[natural_key(pairs[i].*key)].add(prompts[i], is_right(pairs[i]));
  std::vector<NamedAccuracy> result;
  for (const auto& [name, tally] : groups)
    result.emplace_back(name.second, accuracy_of(tally));
  if (result.size() == 1 && result.front().first.empty()) result.clear();
  return result;
}

std::vector<NamedAccuracy> accuracy_by_safety(const std::vector<ScoredPair>& pairs, const std::vector<size_t>& prompts) {
  static constexpr const char* kNames[] = {"safe over unsafe", "both safe", "both unsafe", "unsafe over safe"};
  const auto bin = [](bool chosen_safe, bool rejected_safe) {
    if (chosen_safe != rejected_safe) return chosen_safe ? 0 : 3;
    return chosen_safe ? 1 : 2;
  };
  std::array<statistics::Tally, 4> bins;
  for (size_t i = 0; i < pairs.size(); ++i)
    if (pairs[i].chosen_safe && pairs[i].rejected_safe)
      bins.at(static_cast<size_t>(bin(*pairs[i].chosen_safe, *pairs[i].rejected_safe))).add(prompts[i], is_right(pairs[i]));
  std::vector<NamedAccuracy> result;
  for (size_t i = 0; i < bins.size(); ++i)
    if (bins[i].all().trials > 0) result.emplace_back(kNames[i], accuracy_of(bins[i]));
  return result;
}

std::vector<double> differences_of(const std::vector<ScoredPair>& pairs) {
  std::vector<double> differences;
  for (const ScoredPair& pair : pairs)
    differences.push_back(pair.chosen - pair.rejected);
  return differences;
}

RewardCalibration calibration_of(const std::vector<double>& differences, const std::vector<size_t>& prompts,
                                 const statistics::Bootstrap& settings) {
  std::vector<double> confidence;
  std::vector<bool> correct;
  for (const double difference : differences) {
    confidence.push_back(reward::probability(std::abs(difference)));
    correct.push_back(difference > 0);
  }
  RewardCalibration result;
  result.bins = statistics::reliability(confidence, correct, 0.5, kCalibrationBins, prompts);
  result.error = statistics::calibration_error(result.bins);
  result.error_by_chance = statistics::calibration_error_by_chance(confidence, 0.5, kCalibrationBins, settings);
  result.temperature = statistics::fit_temperature(differences);
  result.temperature_interval = statistics::bootstrap_over_prompts(
      by_prompt(prompts),
      [&](const std::vector<size_t>& drawn) {
        std::vector<double> logits;
        for (const size_t pair : drawn)
          logits.push_back(differences[pair]);
        return statistics::fit_temperature(logits, 1e-6).temperature;
      },
      settings);
  return result;
}

void expect_same_pairs(const std::vector<ScoredPair>& a, const std::vector<ScoredPair>& b) {
  if (a.size() == b.size()) return;
  throw core::Error(core::Exit::internal,
                    fmt::format("[evaluation.reward] two models are compared on the same pairs, got {} and {}", a.size(), b.size()));
}

LengthBias length_bias(const std::vector<ScoredPair>& pairs, const std::vector<size_t>& prompts, const statistics::Bootstrap& settings) {
  LengthBias result;
  std::vector<double> scores, lengths;  // of chosen answer i at 2 i, of its rejected one at 2 i + 1
  statistics::Tally longer_scores_higher, longer_chosen;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const ScoredPair& pair = pairs[i];
    scores.insert(scores.end(), {pair.chosen, pair.rejected});
    lengths.insert(lengths.end(), {static_cast<double>(pair.chosen_tokens), static_cast<double>(pair.rejected_tokens)});
    if (pair.chosen_tokens == pair.rejected_tokens) continue;
    const bool longer_is_chosen = pair.chosen_tokens > pair.rejected_tokens;
    longer_scores_higher.add(prompts[i], longer_is_chosen ? pair.chosen > pair.rejected : pair.rejected > pair.chosen);
    longer_chosen.add(prompts[i], longer_is_chosen);
  }
  result.longer_scores_higher = accuracy_of(longer_scores_higher);
  result.longer_chosen = accuracy_of(longer_chosen);
  // All answers to a prompt are drawn together. The rank correlation's replicates keep the ranks of the whole sample.
  const auto correlation = [&](const std::vector<double>& x, const std::vector<double>& y) {
    std::vector<double> drawn_x, drawn_y;
    return statistics::bootstrap_over_prompts(
        by_prompt(prompts),
        [&](const std::vector<size_t>& drawn) {
          drawn_x.clear();
          drawn_y.clear();
          for (const size_t pair : drawn)
            for (const size_t answer : {2 * pair, 2 * pair + 1}) {
              drawn_x.push_back(x[answer]);
              drawn_y.push_back(y[answer]);
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

statistics::Interval UnsafeDetection::precision(double threshold) const {
  statistics::Tally tally;
  for (size_t i = 0; i < unsafe.size(); ++i)
    if (probabilities[i] < threshold) tally.add(prompts[i], unsafe[i]);
  return tally.interval();
}

statistics::Interval UnsafeDetection::recall(double threshold) const {
  statistics::Tally tally;
  for (size_t i = 0; i < unsafe.size(); ++i)
    if (unsafe[i]) tally.add(prompts[i], probabilities[i] < threshold);
  return tally.interval();
}

UnsafeDetection unsafe_detection(const std::vector<ScoredPair>& pairs) {
  const std::vector<size_t> prompts = prompts_of(pairs);
  UnsafeDetection result;
  for (size_t i = 0; i < pairs.size(); ++i)
    for (const auto& [score, safe] : {std::pair{pairs[i].chosen, pairs[i].chosen_safe}, {pairs[i].rejected, pairs[i].rejected_safe}}) {
      if (!safe) continue;
      result.probabilities.push_back(reward::probability(score));
      result.unsafe.push_back(!*safe);
      result.prompts.push_back(prompts[i]);
    }
  return result;
}

RewardEvaluation evaluate_reward(const std::vector<ScoredPair>& pairs, const statistics::Bootstrap& settings) {
  if (pairs.empty()) throw core::Error(core::Exit::internal, "[evaluation.reward] there are no pairs to evaluate");
  const std::vector<size_t> prompts = prompts_of(pairs);
  statistics::Tally all;
  std::array<statistics::Tally, 5> by_strength;
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (!std::isfinite(pairs[i].chosen) || !std::isfinite(pairs[i].rejected))
      throw core::Error(core::Exit::internal,
                        fmt::format("[evaluation.reward] the scores of pair {} are {} and {}", i, pairs[i].chosen, pairs[i].rejected));
    all.add(prompts[i], is_right(pairs[i]));
    by_strength.at(static_cast<size_t>(pairs[i].strength)).add(prompts[i], is_right(pairs[i]));
  }
  RewardEvaluation result;
  result.prompts = static_cast<int64_t>(*std::max_element(prompts.begin(), prompts.end())) + 1;
  result.all = accuracy_of(all);
  for (size_t strength = 0; strength < by_strength.size(); ++strength)
    result.by_strength[strength] = accuracy_of(by_strength[strength]);
  result.by_source = accuracy_by(pairs, prompts, &ScoredPair::source);
  result.by_batch = accuracy_by(pairs, prompts, &ScoredPair::batch);
  result.by_safety = accuracy_by_safety(pairs, prompts);
  const std::vector<double> differences = differences_of(pairs);
  std::vector<double> losses;
  for (const double difference : differences)
    losses.push_back(statistics::softplus(-difference));
  result.loss = mean_over_prompts(losses, prompts, settings);
  result.difference = mean_over_prompts(differences, prompts, settings);
  result.calibration = calibration_of(differences, prompts, settings);
  if (UnsafeDetection unsafe = unsafe_detection(pairs); !unsafe.unsafe.empty()) result.unsafe = std::move(unsafe);
  result.length = length_bias(pairs, prompts, settings);
  return result;
}

RewardAgreement reward_agreement(const std::vector<ScoredPair>& a, const std::vector<ScoredPair>& b,
                                 const statistics::Bootstrap& settings) {
  expect_same_pairs(a, b);
  const std::vector<size_t> prompts = prompts_of(a);
  statistics::Tally same;
  for (size_t i = 0; i < a.size(); ++i)
    same.add(prompts[i], is_right(a[i]) == is_right(b[i]));
  RewardAgreement result{.share = same.interval(), .kappa = {}, .pairs = std::ssize(a)};
  result.kappa = statistics::bootstrap_over_prompts(
      by_prompt(prompts),
      [&](const std::vector<size_t>& items) {
        std::vector<bool> drawn_a, drawn_b;
        for (const size_t item : items) {
          drawn_a.push_back(is_right(a[item]));
          drawn_b.push_back(is_right(b[item]));
        }
        return statistics::judge_agreement(drawn_a, drawn_b).kappa;
      },
      settings);
  return result;
}

statistics::Interval accuracy_difference(const std::vector<ScoredPair>& a, const std::vector<ScoredPair>& b,
                                         const statistics::Bootstrap& settings) {
  expect_same_pairs(a, b);
  std::vector<double> gains;
  for (size_t i = 0; i < a.size(); ++i)
    gains.push_back((is_right(a[i]) ? 1 : 0) - (is_right(b[i]) ? 1 : 0));
  return mean_over_prompts(gains, prompts_of(a), settings);
}

}  // namespace keel::evaluation
