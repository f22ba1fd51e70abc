// What the cells of a sweep measured, and the table and plots that compare them.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/report.h"
#include "evaluation/statistics/interval.h"
#include "pipelines/ablation/sweep.h"

namespace keel::pipelines::ablation {

// One run of a sweep: a cell with one seed.
struct CellRun {
  size_t cell = 0;
  int64_t seed = 0;
  std::string failure;                                            // why it failed; empty when it did not
  std::map<std::string, double> measures;                         // by Sweep::measures
  std::map<std::string, std::vector<double>> distributions = {};  // one value an answer, by Distribution::name
};

// A measure of a finished run, given the folders of its stages. NAME.REST: for a model NAME of the evaluation, its measure REST. For a
// stage NAME, the number (or {"mean"}) at the dotted path REST of its evaluation.json (list elements by their "name", "strength" or
// "family"), else the last value of the metric REST in its metrics.jsonl. Nothing when there is none.
std::optional<double> measure_of(const std::map<std::string, std::filesystem::path>& stages, const std::string& measure);

// The values of a distribution in a finished run; none when the run ends before its evaluation or has no such model or member.
std::vector<double> values_of(const std::map<std::string, std::filesystem::path>& stages, const Distribution& distribution);

// A cell's measure over its seeds, and its difference from the baseline over the seeds that both have. Low and high are NaN below three.
struct CellMeasure {
  size_t cell = 0;
  std::string measure;
  int64_t seeds = 0;
  double deviation = 0;  // between seeds
  evaluation::statistics::Interval value, difference;
};
std::vector<CellMeasure> compare_cells(const Sweep& sweep, const std::vector<CellRun>& runs);

std::string csv_of(const Sweep& sweep, const std::vector<CellMeasure>& table,
                   const std::vector<CellRun>& runs);  // RFC 4180, one row a cell and measure
std::string markdown_of(const Sweep& sweep, const std::vector<CellMeasure>& table, const std::vector<CellRun>& runs);  // one row a cell
evaluation::Report report_of(const Sweep& sweep, const std::vector<CellMeasure>& table, const std::vector<CellRun>& runs);

}  // namespace keel::pipelines::ablation
