#include "evaluation/assemble.h"

#include <fmt/format.h>

#include <cmath>

namespace keel::evaluation {

Series metric_series(std::string name, const std::vector<core::MetricPoint>& points, std::string_view metric) {
  Series series{std::move(name), {}, {}, {}, {}};
  for (const core::MetricPoint& point : points) {
    for (const auto& [key, value] : point.values) {
      if (key != metric) continue;
      series.x.push_back(static_cast<double>(point.step));
      series.y.push_back(value);
    }
  }
  return series;
}

LinePlot metric_plot(std::string title, std::string y_label, const std::vector<core::MetricPoint>& points, std::string_view metric) {
  return {std::move(title), "step", std::move(y_label), {metric_series("", points, metric)}, {}, ""};
}

void add_point(Series& series, double x, const statistics::Interval& y) {
  series.x.push_back(x);
  series.y.push_back(y.mean);
  series.low.push_back(y.low);
  series.high.push_back(y.high);
}

Table measure_table(std::string title, const std::vector<Measure>& measures, const std::vector<MeasuredModel>& models) {
  Table table{std::move(title), {{"model"}}, {}, ""};
  for (const Measure& measure : measures)
    table.columns.push_back({measure.heading, ColumnKind::number});
  for (const MeasuredModel& model : models) {
    std::vector<Cell> row = {model.name};
    for (const Measure& measure : measures) {
      const auto found = model.measures.find(measure.key);
      row.push_back(found == model.measures.end() ? Cell("-") : interval_cell(found->second, measure.digits));
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::vector<std::string> drifting_models(const std::vector<MeasuredModel>& models) {
  const auto rises = [&](const MeasuredModel& model, const char* measure) {
    return model.measures.at(measure).mean > models.front().measures.at(measure).mean;
  };
  std::vector<std::string> drifting;
  for (const MeasuredModel& model : models)
    if (rises(model, "reward_helpfulness") && rises(model, "reward_safety") && !rises(model, "reward_general"))
      drifting.push_back(model.name);
  return drifting;
}

IntervalPlot measure_plot(std::string title, const Measure& measure, const std::vector<MeasuredModel>& models,
                          std::vector<Reference> references) {
  IntervalPlot plot{std::move(title), measure.heading, {}, std::move(references), measure.digits, ""};
  for (const MeasuredModel& model : models) {
    const auto found = model.measures.find(measure.key);
    if (found == model.measures.end()) continue;
    const auto count = model.counts.find(measure.key);
    plot.rows.push_back({model.name, found->second, count == model.counts.end() ? 0 : count->second, ""});
  }
  return plot;
}

BarPlot time_plot(std::string title, const std::vector<std::pair<std::string, double>>& seconds_by_stage) {
  BarPlot plot{std::move(title), "wall time (s)", {}, ""};
  for (const auto& [stage, seconds] : seconds_by_stage)
    plot.bars.push_back({stage, seconds, duration_text(seconds)});
  return plot;
}

std::string duration_text(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "unknown";
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(std::fmin(seconds, 1e15)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace keel::evaluation
