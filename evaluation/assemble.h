// Short ways to fill a report: curves from metrics.jsonl, tables and interval plots of measures, time by stage.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/metrics.h"
#include "evaluation/plots.h"

namespace keel::evaluation {

// The curve of one metric over steps; rows without it are left out (a validation loss is not logged at every step).
Series metric_series(std::string name, const std::vector<core::MetricPoint>& points, std::string_view metric);

// One small figure for a metric without a legend: its name is the title.
LinePlot metric_plot(std::string title, std::string y_label, const std::vector<core::MetricPoint>& points, std::string_view metric);

// A point with its band.
void add_point(Series& series, double x, const statistics::Interval& y);

struct Measure {
  std::string key, heading;  // "gold_safety", "gold safety"
  int digits = 2;
};

// A model of summary.json; keys that do not apply to it are absent.
struct MeasuredModel {
  std::string name;
  std::map<std::string, statistics::Interval> measures;
  std::map<std::string, int64_t> counts;  // prompts behind a measure, by the same keys; may be empty
  std::string before = {};                // the model that measures ending in "_vs_before" compare with; "" for none
  std::string version_before = {};        // the same of "_vs_version_before"
};

// One row a model, one column a measure, "-" where it is absent.
Table measure_table(std::string title, const std::vector<Measure>& measures, const std::vector<MeasuredModel>& models);

// Models that the helpfulness and the safety reward model both rate above the first model, while the general one does not: a sign of reward
// hacking. All models have reward_helpfulness, reward_safety and reward_general.
std::vector<std::string> drifting_models(const std::vector<MeasuredModel>& models);

// One row for each model that has the measure.
IntervalPlot measure_plot(std::string title, const Measure& measure, const std::vector<MeasuredModel>& models,
                          std::vector<Reference> references = {});

BarPlot time_plot(std::string title, const std::vector<std::pair<std::string, double>>& seconds_by_stage);

std::string duration_text(double seconds);  // "0.4 s", "12 s", "3 min 05 s", "2 h 07 min"

}  // namespace keel::evaluation
