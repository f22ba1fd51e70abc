#include "evaluation/statistics/json.h"

#include <nlohmann/json.hpp>

namespace keel::evaluation::statistics {

nlohmann::json to_json(const evaluation::statistics::Interval& interval) {
  return {{"mean", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

evaluation::statistics::Interval interval_from_json(const nlohmann::json& object) {
  return {.mean = object.at("mean").get<double>(), .low = object.at("low").get<double>(), .high = object.at("high").get<double>()};
}

}  // namespace keel::evaluation::statistics
