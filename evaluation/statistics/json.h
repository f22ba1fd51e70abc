// Intervals as they stand in summary.json: {"mean", "low", "high"}.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation::statistics {

nlohmann::json to_json(const evaluation::statistics::Interval& interval);
evaluation::statistics::Interval interval_from_json(const nlohmann::json& json);

}  // namespace keel::evaluation::statistics
