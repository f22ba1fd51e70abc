// How good a reward model is, from the scores it gives to held-out pairs (Llama 2 paper: tables 7, 8, 28 and 29, 3.2.3, A.3.4).
//
// Scores are raw (logits); sigmoid(score) is the paper's score in (0, 1). Intervals are 95 % and treat prompts, not pairs, as independent:
// shares use statistics::wilson_over_prompts(), other figures the bootstrap over prompts.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "evaluation/statistics/calibration.h"
#include "evaluation/statistics/decisions.h"
#include "evaluation/statistics/interval.h"

namespace keel::evaluation {

// A preference pair with a reward model's scores. Labels as in core::PreferencePair.
struct ScoredPair {
  double chosen = 0, rejected = 0;  // raw scores
  int strength = 0;
  std::optional<bool> chosen_safe = {}, rejected_safe = {};
  std::string source = {}, batch = {};
  int64_t chosen_tokens = 0, rejected_tokens = 0;  // length of each answer alone
  std::optional<int64_t> prompt = {};              // equal numbers: the same prompt; nothing: a prompt of its own
  bool operator==(const ScoredPair&) const = default;
};

struct Accuracy {
  int64_t correct = 0;  // pairs whose chosen answer scores strictly higher
  int64_t pairs = 0;
  statistics::Interval interval = {};
};
using NamedAccuracy = std::pair<std::string, Accuracy>;

// P(the answer that scores higher was chosen) = sigmoid(|chosen - rejected|), against the observed frequency.
struct RewardCalibration {
  std::vector<statistics::ReliabilityBin> bins;  // of confidences in [0.5, 1]
  double error = 0;                              // expected calibration error
  statistics::Interval error_by_chance;          // that of perfectly calibrated scores on these pairs
  statistics::TemperatureFit temperature;        // differences divided by it are calibrated best
  statistics::Interval temperature_interval;     // at most 1,000 draws, because each needs a fit
};

// Unsafe answers among those with a safety label: an answer is called unsafe where its probability is below a threshold.
struct UnsafeDetection {
  std::vector<double> probabilities;  // sigmoid(score) of each labelled answer
  std::vector<bool> unsafe;           // its label
  std::vector<size_t> prompts;        // the number of its prompt
  statistics::Detection at(double threshold) const { return statistics::detect_below(probabilities, unsafe, threshold); }
  statistics::Interval precision(double threshold) const;  // share of the answers below that are unsafe
  statistics::Interval recall(double threshold) const;     // share of the unsafe answers that lie below
};

// Do long answers win because they are long?
struct LengthBias {
  statistics::Interval pearson, spearman;  // of score and length over all answers
  Accuracy longer_scores_higher;           // over pairs of unequal length; `correct`: the longer answer scores strictly higher
  Accuracy longer_chosen;                  // the same for the annotator's choice
};

struct RewardEvaluation {
  int64_t prompts = 0;  // distinct ones
  Accuracy all;
  std::array<Accuracy, 5> by_strength;             // 0..4; 0 = not recorded
  std::vector<NamedAccuracy> by_source, by_batch;  // numbers ascending, then names; empty where no pair has one
  std::vector<NamedAccuracy> by_safety;            // chosen over rejected, the bins of table 29; empty where no pair has both labels
  statistics::Interval loss;                       // -log sigmoid(chosen - rejected), without margin: comparable between margins
  statistics::Interval difference;                 // chosen - rejected
  RewardCalibration calibration;
  std::optional<UnsafeDetection> unsafe;  // nothing without safety labels
  LengthBias length;
};

// For the figures of reward models. Not a setting of recipes: a change would outdate the reward models and everything made with them.
inline constexpr statistics::Bootstrap kRewardBootstrap{.seed = 0, .replicates = 1000};

// Throws core::Error for no pairs or a score that is not finite.
RewardEvaluation evaluate_reward(const std::vector<ScoredPair>& pairs, const statistics::Bootstrap& settings = kRewardBootstrap);

UnsafeDetection unsafe_detection(const std::vector<ScoredPair>& pairs);

// Agreement of two reward models on the same pairs. kappa measures agreement beyond that of two models with these accuracies and
// independent errors: 0 = independent errors, 1 = the same ones (Geirhos et al. 2020, "error consistency").
struct RewardAgreement {
  statistics::Interval share, kappa;
  int64_t pairs = 0;
};
// `a` and `b` are scores of the same pairs; core::Error for unequal sizes or none.
RewardAgreement reward_agreement(const std::vector<ScoredPair>& a, const std::vector<ScoredPair>& b,
                                 const statistics::Bootstrap& settings = kRewardBootstrap);

// Accuracy of `a` minus that of `b`, which are scores of the same pairs; core::Error for unequal sizes or none.
statistics::Interval accuracy_difference(const std::vector<ScoredPair>& a, const std::vector<ScoredPair>& b,
                                         const statistics::Bootstrap& settings = kRewardBootstrap);

}  // namespace keel::evaluation
