// Who compares on real data, people or a judge, and what is to be said of their verdicts besides the pairs that they give.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "annotation/annotation.h"
#include "annotation/comparison_judge.h"

namespace keel::pipelines::collection {

struct BatchVerdicts {
  std::vector<std::optional<annotation::Verdict>> verdicts;  // one a comparison
  nlohmann::json counts = nlohmann::json::object();          // members of counts.json, see docs/runs.md
  std::string advice;                                        // what to do where no comparison has a verdict
};

// By a judge, whose replies are kept in `work`. `guidelines` "": keel's own words. `name` is the batch's, for the log. Errors as
// annotation::ask_judge().
BatchVerdicts verdicts_of_judge(const annotation::ComparisonJudge& judge, const std::filesystem::path& guidelines,
                                const std::vector<nlohmann::json>& comparisons, const std::filesystem::path& work, const std::string& name);

// By people: the majority of those who judged a comparison. Errors as annotation::read_verdicts().
BatchVerdicts verdicts_of_people(const std::filesystem::path& filled, const std::vector<nlohmann::json>& comparisons,
                                 const std::string& name);

}  // namespace keel::pipelines::collection
