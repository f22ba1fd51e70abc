#include "pipelines/measurement/score_curves.h"

#include <nlohmann/json.hpp>

#include "evaluation/statistics/interval.h"
#include "evaluation/statistics/json.h"

namespace keel::pipelines::measurement {

nlohmann::json scores_by_count(const rejection_sampling::Selection& selection, uint64_t seed) {
  const auto mean = [&](const std::vector<double>& values) {
    return to_json(evaluation::statistics::bootstrap_mean(values, {.seed = seed, .replicates = 1000}));
  };
  nlohmann::json by_count = nlohmann::json::array();
  for (const auto& row : selection.statistics)
    by_count.push_back({{"answers", row.answers}, {"maximum", mean(row.maximum)}, {"median", mean(row.median)}});
  return by_count;
}

}  // namespace keel::pipelines::measurement
