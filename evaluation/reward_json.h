// Evaluations of reward models as JSON: evaluation.json and scores.jsonl of a reward model's folder (docs/formats.md).
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "evaluation/reward_evaluation.h"

namespace keel::evaluation {

// What does not apply is absent: groups that no pair names, the detection of unsafe answers without safety labels, shares of nothing.
nlohmann::json to_json(const evaluation::RewardEvaluation& evaluation);
nlohmann::json to_json(const evaluation::RewardAgreement& agreement);

// Unsafe answers below a threshold: {"threshold", "flagged", "precision", "recall"}. to_json() uses the paper's gate: a reward model is
// evaluated before a run's own gate is read, so that another gate does not outdate the model.
nlohmann::json detection_json(const evaluation::UnsafeDetection& detection, double threshold);

// scores.jsonl: one row a held-out pair.
void write_scores(const std::filesystem::path& path, const std::vector<evaluation::ScoredPair>& pairs);
std::vector<evaluation::ScoredPair> read_scores(const std::filesystem::path& path);

}  // namespace keel::evaluation
