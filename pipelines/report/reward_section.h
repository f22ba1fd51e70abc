// The report's section on reward models, from the results of their stages.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "evaluation/report.h"
#include "pipelines/report/results.h"

namespace keel::pipelines::report {

// Accuracy by group, reliability, scores, length and, with safety labels, the choice of the gate's threshold, for each model of
// `evaluations` (its evaluation.json; "best_possible_accuracy" beside it where the truth is known) and `stages` (its kind and stage, in the
// same order). Reads scores.jsonl of these stages and reward_models.json of the evaluation.
evaluation::Section reward_model_section(const std::vector<nlohmann::json>& evaluations,
                                         const std::vector<std::pair<std::string, std::string>>& stages, const Folders& folders,
                                         double gate_threshold);

}  // namespace keel::pipelines::report
