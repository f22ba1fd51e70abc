#include "pipelines/ablation/sweep_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "core/jsonl.h"
#include "core/metrics.h"
#include "evaluation/statistics/describe.h"
#include "evaluation/statistics/seeds.h"

namespace keel::pipelines::ablation {
namespace {

namespace fs = std::filesystem;
using evaluation::statistics::Interval;
using nlohmann::json;

std::optional<double> number_in(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_object() && value.contains("mean") && value["mean"].is_number()) return value["mean"].get<double>();
  return std::nullopt;
}

// The element of a list whose name, strength or family is `name`.
const json* element_named(const json& list, const std::string& name) {
  for (const auto& element : list)
    for (const char* key : {"name", "strength", "family"})
      if (element.is_object() && element.contains(key) &&
          (element[key].is_string() ? element[key].get<std::string>() : element[key].dump()) == name)
        return &element;
  return nullptr;
}

std::optional<double> number_at(const json* value, std::string path) {
  while (value != nullptr && !path.empty()) {
    const size_t dot = path.find('.');
    const std::string part = path.substr(0, dot);
    path = dot == std::string::npos ? "" : path.substr(dot + 1);
    if (value->is_array())
      value = element_named(*value, part);
    else
      value = value->is_object() && value->contains(part) ? &value->at(part) : nullptr;
  }
  return value == nullptr ? std::nullopt : number_in(*value);
}

std::optional<double> last_metric(const fs::path& file, const std::string& metric) {
  std::optional<double> last;
  if (!fs::exists(file)) return last;
  for (const auto& point : core::read_metrics(file))
    for (const auto& [name, value] : point.values)
      if (name == metric) last = value;
  return last;
}

// Enough digits to read back the same number; nothing for NaN.
std::string csv_number(double value) {
  return std::isfinite(value) ? core::dump_json(value) : "";
}

std::string csv_text(std::string text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  for (size_t at = text.find('"'); at != std::string::npos; at = text.find('"', at + 2))
    text.insert(at, 1, '"');
  return "\"" + text + "\"";
}

std::string interval_text(const Interval& interval, bool sign = false) {
  if (std::isnan(interval.mean)) return "-";
  std::string text = sign ? fmt::format("{:+.3f}", interval.mean) : fmt::format("{:.3f}", interval.mean);
  if (!std::isnan(interval.low))
    text += sign ? fmt::format(" [{:+.3f}, {:+.3f}]", interval.low, interval.high)
                 : fmt::format(" [{:.3f}, {:.3f}]", interval.low, interval.high);
  return text;
}

std::string value_of(const Settings& cell, const std::string& key) {
  const auto found = std::find_if(cell.begin(), cell.end(), [&](const auto& setting) { return setting.first == key; });
  return found == cell.end() ? "" : found->second;
}

std::string status_of(const Sweep& sweep, size_t cell, const std::vector<CellRun>& runs) {
  size_t done = 0, failed = 0;
  for (const auto& run : runs)
    if (run.cell == cell) ++(run.failure.empty() ? done : failed);
  if (failed > 0) return fmt::format("{} failed", failed);
  return done == sweep.seeds.size() ? "done" : fmt::format("{} of {} done", done, sweep.seeds.size());
}

// Cells that differ from the baseline in `key` alone, the baseline among them.
std::vector<size_t> along(const Sweep& sweep, const std::string& key) {
  std::vector<size_t> cells;
  for (size_t i = 0; i < sweep.cells.size(); ++i) {
    const bool rest_equal = std::all_of(sweep.keys.begin(), sweep.keys.end(), [&](const std::string& other) {
      return other == key || value_of(sweep.cells[i], other) == value_of(sweep.cells[sweep.baseline], other);
    });
    if (rest_equal) cells.push_back(i);
  }
  return cells;
}

// The baseline and the cells that set `key`.
std::vector<size_t> setting(const Sweep& sweep, const std::string& key) {
  std::vector<size_t> cells;
  for (size_t i = 0; i < sweep.cells.size(); ++i)
    if (i == sweep.baseline || !value_of(sweep.cells[i], key).empty()) cells.push_back(i);
  return cells;
}

const CellMeasure& row_of(const std::vector<CellMeasure>& table, size_t cell, const std::string& measure) {
  return *std::find_if(table.begin(), table.end(), [&](const CellMeasure& row) { return row.cell == cell && row.measure == measure; });
}

evaluation::IntervalPlot plot_of(const std::string& title, const std::string& measure, const std::vector<size_t>& cells,
                                 const std::vector<std::string>& labels, const std::vector<CellMeasure>& table) {
  evaluation::IntervalPlot plot{.title = title, .x_label = measure, .rows = {}, .references = {}, .digits = 3, .note = {}};
  for (size_t i = 0; i < cells.size(); ++i) {
    const CellMeasure& row = row_of(table, cells[i], measure);
    Interval interval = row.value;
    if (std::isnan(interval.low)) interval.low = interval.high = interval.mean;  // fewer than three seeds: a point
    plot.rows.push_back({.label = labels[i], .interval = interval, .n = row.seeds, .group = {}});
  }
  plot.note = "n counts seeds; intervals (95 %, Student's t over seeds) from three seeds on.";
  return plot;
}

// The settings in which the cells differ; all of them where there are none.
std::string short_label(const Sweep& sweep, const Settings& cell) {
  Settings varied;
  for (const auto& setting : cell)
    if (std::any_of(sweep.cells.begin(), sweep.cells.end(),
                    [&](const Settings& other) { return value_of(other, setting.first) != setting.second; }))
      varied.push_back(setting);
  return label_of(varied.empty() ? cell : varied);
}

// One histogram a distribution, one group a cell (paper, figures 14 and 15).
evaluation::Section distribution_section(const Sweep& sweep, const std::vector<CellRun>& runs) {
  evaluation::Section section{.heading = "Distributions", .text = "Answers of all seeds together, one group a cell.", .blocks = {}};
  for (const auto& distribution : sweep.distributions) {
    const char* prompts = !distribution.hazard ? "" : *distribution.hazard ? ", answers to hazards" : ", answers to harmless prompts";
    evaluation::HistogramPlot plot{
        .title = distribution.name, .x_label = distribution.member + prompts, .groups = {}, .references = {}, .note = "n counts answers."};
    for (size_t cell = 0; cell < sweep.cells.size(); ++cell) {
      plot.groups.push_back({.name = short_label(sweep, sweep.cells[cell]), .values = {}});
      auto& values = plot.groups.back().values;
      for (const auto& run : runs)
        if (const auto found = run.distributions.find(distribution.name); run.cell == cell && found != run.distributions.end())
          values.insert(values.end(), found->second.begin(), found->second.end());
    }
    section.blocks.push_back(std::move(plot));
  }
  return section;
}

}  // namespace

std::optional<double> measure_of(const std::map<std::string, fs::path>& stages, const std::string& measure) {
  const size_t dot = measure.find('.');
  const std::string name = measure.substr(0, dot), rest = measure.substr(dot + 1);
  if (const auto evaluation = stages.find("evaluation"); evaluation != stages.end()) {
    const json measured = core::read_json_file(evaluation->second / "evaluation.json");
    if (const json* model = element_named(measured.at("models"), name))
      if (const auto value = number_at(model, rest)) return value;
  }
  const auto stage = stages.find(name);
  if (stage == stages.end()) return std::nullopt;
  if (fs::exists(stage->second / "evaluation.json")) {
    const json evaluation = core::read_json_file(stage->second / "evaluation.json");
    if (const auto value = number_at(&evaluation, rest)) return value;
  }
  return last_metric(stage->second / "metrics.jsonl", rest);
}

std::vector<double> values_of(const std::map<std::string, fs::path>& stages, const Distribution& distribution) {
  std::vector<double> values;
  const auto evaluation = stages.find("evaluation");
  if (evaluation == stages.end()) return values;
  core::JsonlReader answers(evaluation->second / "answers.jsonl");
  for (json row; answers.next(row);)
    if (row.at("model") == distribution.model && row.contains(distribution.member) &&
        (!distribution.hazard || row.at("hazard") == *distribution.hazard))
      values.push_back(row.at(distribution.member).get<double>());
  return values;
}

std::vector<CellMeasure> compare_cells(const Sweep& sweep, const std::vector<CellRun>& runs) {
  const auto find = [&](size_t cell, int64_t seed, const std::string& measure) -> std::optional<double> {
    for (const auto& run : runs)
      if (run.cell == cell && run.seed == seed)
        if (const auto value = run.measures.find(measure); value != run.measures.end()) return value->second;
    return std::nullopt;
  };
  std::vector<CellMeasure> table;
  for (size_t cell = 0; cell < sweep.cells.size(); ++cell)
    for (const auto& measure : sweep.measures) {
      std::vector<double> values, differences;
      CellMeasure row{.cell = cell, .measure = measure, .value = {}, .difference = {}};
      for (const int64_t seed : sweep.seeds) {
        const auto value = find(cell, seed, measure), baseline = find(sweep.baseline, seed, measure);
        if (value) values.push_back(*value);
        if (value && baseline) differences.push_back(*value - *baseline);
      }
      row.seeds = std::ssize(values);
      row.value = evaluation::statistics::seed_interval(values);
      row.deviation = evaluation::statistics::standard_deviation(values);
      row.difference = evaluation::statistics::seed_interval(differences);
      table.push_back(std::move(row));
    }
  return table;
}

std::string csv_of(const Sweep& sweep, const std::vector<CellMeasure>& table, const std::vector<CellRun>& runs) {
  std::string text;
  for (const auto& key : sweep.keys)
    text += csv_text(key) + ",";
  text += "measure,n,mean,sd,ci_lo,ci_hi,delta,delta_lo,delta_hi,status\r\n";
  for (const auto& row : table) {
    for (const auto& key : sweep.keys)
      text += csv_text(value_of(sweep.cells[row.cell], key)) + ",";
    text += fmt::format("{},{}", csv_text(row.measure), row.seeds);
    for (const double value :
         {row.value.mean, row.deviation, row.value.low, row.value.high, row.difference.mean, row.difference.low, row.difference.high})
      text += "," + csv_number(value);
    text += "," + status_of(sweep, row.cell, runs) + "\r\n";
  }
  return text;
}

std::string markdown_of(const Sweep& sweep, const std::vector<CellMeasure>& table, const std::vector<CellRun>& runs) {
  std::string text = fmt::format(
                  "# {}\n\nMean over seeds with a 95 % interval (Student's t, from three seeds on); below it the paired "
                  "difference from the baseline, {}.\n\n| cell |",
                  sweep.name, label_of(sweep.cells[sweep.baseline])),
              rule = "\n|---|";
  for (const auto& measure : sweep.measures)
    text += " " + measure + " |", rule += "---|";
  text += " seeds | status |" + rule + "---|---|\n";
  for (size_t cell = 0; cell < sweep.cells.size(); ++cell) {
    text += "| " + label_of(sweep.cells[cell]) + (cell == sweep.baseline ? " (baseline)" : "") + " |";
    const CellMeasure* any = nullptr;
    for (const auto& measure : sweep.measures) {
      const CellMeasure& row = row_of(table, cell, measure);
      any = &row;
      text += " " + interval_text(row.value);
      if (cell != sweep.baseline && !std::isnan(row.difference.mean)) text += "<br>" + interval_text(row.difference, true);
      text += " |";
    }
    text += fmt::format(" {} | {} |\n", any->seeds, status_of(sweep, cell, runs));
  }
  return text;
}

evaluation::Report report_of(const Sweep& sweep, const std::vector<CellMeasure>& table, const std::vector<CellRun>& runs) {
  evaluation::Report report{.title = "keel ablate: " + sweep.name,
                            .subtitle = "Compared with " + label_of(sweep.cells[sweep.baseline]),
                            .facts = {{"recipe", sweep.base.string()}, {"seeds", fmt::format("{}", sweep.seeds.size())}},
                            .models = {},
                            .summary = {.title = "", .columns = {{"cell"}}, .rows = {}, .note = {}},
                            .sections = {}};
  for (const auto& measure : sweep.measures)
    report.summary.columns.push_back({measure, evaluation::ColumnKind::number});
  report.summary.columns.push_back({"status"});
  report.summary.note = "Behind the semicolon the paired difference to the baseline, seed by seed.";
  for (size_t cell = 0; cell < sweep.cells.size(); ++cell) {
    std::vector<evaluation::Cell> row = {label_of(sweep.cells[cell])};
    for (const auto& measure : sweep.measures) {
      const CellMeasure& measured = row_of(table, cell, measure);
      const bool compared = cell != sweep.baseline && !std::isnan(measured.difference.mean);
      row.emplace_back(interval_text(measured.value) + (compared ? "; " + interval_text(measured.difference, true) : ""));
    }
    row.emplace_back(status_of(sweep, cell, runs));
    report.summary.rows.push_back(std::move(row));
  }
  for (const auto& key : sweep.keys) {
    evaluation::Section section{.heading = key, .text = "All other settings as in the baseline.", .blocks = {}};
    auto cells = along(sweep, key);
    const bool varied_alone = cells.size() > 1;
    if (!varied_alone) {
      section.text = "The baseline and the cells that set it, each with other settings as well.";
      cells = setting(sweep, key);
    }
    std::vector<std::string> labels;
    for (const size_t cell : cells) {
      const std::string value = value_of(sweep.cells[cell], key);
      labels.push_back(!varied_alone ? label_of(sweep.cells[cell]) : value.empty() ? "as the recipe" : value);
    }
    for (const auto& measure : sweep.measures)
      section.blocks.push_back(plot_of(measure, measure, cells, labels, table));
    report.sections.push_back(std::move(section));
  }
  if (!sweep.distributions.empty()) report.sections.push_back(distribution_section(sweep, runs));
  evaluation::Section all{.heading = "All cells", .text = {}, .blocks = {}};
  std::vector<size_t> cells;
  std::vector<std::string> labels;
  for (size_t cell = 0; cell < sweep.cells.size(); ++cell)
    cells.push_back(cell), labels.push_back(label_of(sweep.cells[cell]));
  for (const auto& measure : sweep.measures)
    all.blocks.push_back(plot_of(measure, measure, cells, labels, table));
  evaluation::Table failures{.title = "Failed cells", .columns = {{"cell"}, {"seed"}, {"why"}}, .rows = {}, .note = {}};
  for (const auto& run : runs)
    if (!run.failure.empty()) failures.rows.push_back({label_of(sweep.cells[run.cell]), fmt::format("{}", run.seed), run.failure});
  if (!failures.rows.empty()) all.blocks.push_back(failures);
  report.sections.push_back(std::move(all));
  return report;
}

}  // namespace keel::pipelines::ablation
