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

// Unsafe answers below a threshold: {"threshold", "flagged", "precision", "recall"}. to_json() has that of the paper's gate, for a reward
// model is trained and evaluated before a run comes to its gate, and no other gate makes another of it.
nlohmann::json detection_json(const evaluation::UnsafeDetection& detection, double threshold);

// scores.jsonl: one row a held-out pair.
void write_scores(const std::filesystem::path& path, const std::vector<evaluation::ScoredPair>& pairs);
std::vector<evaluation::ScoredPair> read_scores(const std::filesystem::path& path);

}  // namespace keel::evaluation
