// Maximum and median of the first n answers (Llama 2 paper, figure 7), as selection.json and best_of.json hold them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "rejection_sampling/selection.h"

namespace keel::pipelines::measurement {

// [{"answers": n, "maximum": I, "median": I}] for n = 1..K: means over prompts with 95 % bootstrap intervals of a thousand replicates (few,
// since there are K of each).
nlohmann::json scores_by_count(const rejection_sampling::Selection& selection, uint64_t seed);

}  // namespace keel::pipelines::measurement
