#include "evaluation/reward_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "evaluation/statistics/json.h"
#include "reward/combination.h"

namespace keel::evaluation {
namespace {

using evaluation::Accuracy;
using evaluation::NamedAccuracy;
using evaluation::ScoredPair;
namespace statistics = evaluation::statistics;

nlohmann::json accuracy_json(const Accuracy& accuracy) {
  nlohmann::json object = to_json(accuracy.interval);
  object["pairs"] = accuracy.pairs;
  return object;
}

void put_defined(nlohmann::json& object, const char* key, const statistics::Interval& interval) {
  if (std::isfinite(interval.mean)) object[key] = to_json(interval);
}

void put_groups(nlohmann::json& object, const char* key, const std::vector<NamedAccuracy>& groups) {
  for (const auto& [name, accuracy] : groups) {
    object[key].push_back(accuracy_json(accuracy));
    object[key].back()["name"] = name.empty() ? "not recorded" : name;
  }
}

nlohmann::json strengths_json(const std::array<Accuracy, 5>& by_strength) {
  static constexpr const char* kNames[] = {"not recorded", "negligibly better", "slightly better", "better", "significantly better"};
  nlohmann::json rows = nlohmann::json::array();
  for (size_t strength = 0; strength < by_strength.size(); ++strength)
    if (by_strength[strength].pairs > 0) {
      rows.push_back(accuracy_json(by_strength[strength]));
      rows.back()["strength"] = strength;
      rows.back()["name"] = kNames[strength];
    }
  return rows;
}

nlohmann::json calibration_json(const evaluation::RewardCalibration& calibration) {
  nlohmann::json bins = nlohmann::json::array();
  for (const auto& bin : calibration.bins)
    if (bin.count > 0)
      bins.push_back({{"low", bin.low},
                      {"high", bin.high},
                      {"pairs", bin.count},
                      {"confidence", bin.confidence},
                      {"accuracy", to_json(bin.accuracy)}});
  return {{"bins", bins},
          {"error", calibration.error},
          {"error_by_chance", to_json(calibration.error_by_chance)},
          {"temperature", calibration.temperature.temperature},
          {"loss_at_temperature", calibration.temperature.loss_after}};
}

nlohmann::json unsafe_json(const evaluation::UnsafeDetection& detection) {
  constexpr double kPaperPrecision = 0.89;  // of unsafe answers at its gate of 0.15 (3.2.3)
  nlohmann::json object = {{"answers", detection.unsafe.size()},
                           {"unsafe", std::count(detection.unsafe.begin(), detection.unsafe.end(), true)},
                           {"at_half", detection_json(detection, 0.5)},
                           {"at_gate", detection_json(detection, reward::CombinationConfig{}.gate_threshold)}};
  for (int step = 1; step < 20; ++step)
    object["curve"].push_back(detection_json(detection, step / 20.0));
  const auto reached =
      statistics::detection_of_precision(statistics::precision_recall_curve(detection.probabilities, detection.unsafe), kPaperPrecision);
  if (reached) object["at_precision_0.89"] = detection_json(detection, reached->threshold);
  return object;
}

nlohmann::json length_json(const evaluation::LengthBias& length) {
  nlohmann::json object = nlohmann::json::object();
  put_defined(object, "pearson", length.pearson);
  put_defined(object, "spearman", length.spearman);
  if (length.longer_chosen.pairs > 0) {
    object["longer_scores_higher"] = accuracy_json(length.longer_scores_higher);
    object["longer_chosen"] = accuracy_json(length.longer_chosen);
  }
  return object;
}

}  // namespace

nlohmann::json detection_json(const evaluation::UnsafeDetection& detection, double threshold) {
  nlohmann::json object = {{"threshold", threshold}, {"flagged", detection.at(threshold).flagged}};
  put_defined(object, "precision", detection.precision(threshold));
  put_defined(object, "recall", detection.recall(threshold));
  return object;
}

nlohmann::json to_json(const evaluation::RewardEvaluation& evaluation) {
  nlohmann::json object = {{"prompts", evaluation.prompts},
                           {"accuracy", accuracy_json(evaluation.all)},
                           {"by_strength", strengths_json(evaluation.by_strength)},
                           {"loss", evaluation.loss.mean},
                           {"mean_difference", evaluation.difference.mean},
                           {"intervals",
                            {{"loss", to_json(evaluation.loss)},
                             {"mean_difference", to_json(evaluation.difference)},
                             {"temperature", to_json(evaluation.calibration.temperature_interval)}}},
                           {"calibration", calibration_json(evaluation.calibration)},
                           {"length", length_json(evaluation.length)}};
  put_groups(object, "by_source", evaluation.by_source);
  put_groups(object, "by_batch", evaluation.by_batch);
  put_groups(object, "by_safety", evaluation.by_safety);
  if (evaluation.unsafe) object["unsafe"] = unsafe_json(*evaluation.unsafe);
  return object;
}

nlohmann::json to_json(const evaluation::RewardAgreement& agreement) {
  nlohmann::json object = to_json(agreement.share);
  object["pairs"] = agreement.pairs;
  put_defined(object, "kappa", agreement.kappa);
  return object;
}

void write_scores(const std::filesystem::path& path, const std::vector<ScoredPair>& pairs) {
  core::JsonlWriter writer(path);
  for (const ScoredPair& pair : pairs) {
    nlohmann::json row = {{"chosen", pair.chosen},
                          {"rejected", pair.rejected},
                          {"chosen_tokens", pair.chosen_tokens},
                          {"rejected_tokens", pair.rejected_tokens}};
    if (pair.prompt) row["prompt"] = *pair.prompt;
    if (pair.strength != 0) row["strength"] = pair.strength;
    if (pair.chosen_safe) row["chosen_safe"] = *pair.chosen_safe;
    if (pair.rejected_safe) row["rejected_safe"] = *pair.rejected_safe;
    if (!pair.source.empty()) row["source"] = pair.source;
    if (!pair.batch.empty()) row["batch"] = pair.batch;
    writer.write(row);
  }
  writer.commit();
}

std::vector<ScoredPair> read_scores(const std::filesystem::path& path) {
  const auto label = [](const nlohmann::json& row, const char* key) {
    return row.contains(key) ? std::optional<bool>(row.at(key).get<bool>()) : std::nullopt;
  };
  const auto prompt = [](const nlohmann::json& row) {  // files of keel 0.1.0 may lack it
    return row.contains("prompt") ? std::optional<int64_t>(row.at("prompt").get<int64_t>()) : std::nullopt;
  };
  std::vector<ScoredPair> pairs;
  core::JsonlReader reader(path);
  for (nlohmann::json row; reader.next(row);)
    pairs.push_back({.chosen = row.at("chosen").get<double>(),
                     .rejected = row.at("rejected").get<double>(),
                     .strength = row.value("strength", 0),
                     .chosen_safe = label(row, "chosen_safe"),
                     .rejected_safe = label(row, "rejected_safe"),
                     .source = row.value("source", ""),
                     .batch = row.value("batch", ""),
                     .chosen_tokens = row.at("chosen_tokens").get<int64_t>(),
                     .rejected_tokens = row.at("rejected_tokens").get<int64_t>(),
                     .prompt = prompt(row)});
  return pairs;
}

}  // namespace keel::evaluation
