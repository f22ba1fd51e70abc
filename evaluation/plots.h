// What a report shows, as plain data: figures, tables and sample dialogues. Torch-free, so that anything can fill it.
//
// Values that are not finite are legal everywhere: they leave a gap with a red mark and are counted in the caption.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/types.h"
#include "evaluation/statistics/interval.h"
#include "evaluation/text_table.h"

namespace keel::evaluation {

// A curve: x ascending and y of one length; low and high (a band, e.g. a 95 % interval) empty or of that length too.
struct Series {
  std::string name;  // may be empty for the only curve of a figure
  std::vector<double> x, y, low, high;
};

// A dashed line across the figure: at `value` of the y axis in a LinePlot, of the x axis elsewhere.
struct Reference {
  double value = 0;
  std::string label;
};

// Labels carry the unit ("KL to SFT (nats an answer)"); `note` says where the figures come from: file, digest, convention.
struct LinePlot {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  std::vector<Reference> references;
  std::string note;
};

struct SampleGroup {
  std::string name;
  std::vector<double> values;
};

// Distributions on common bins, as shares of each group, with its mean.
struct HistogramPlot {
  std::string title, x_label, y_label = "share of answers";
  std::vector<SampleGroup> groups;
  std::vector<Reference> references;
  std::string note;
};

struct IntervalRow {
  std::string label;
  statistics::Interval interval;  // a NaN mean, as wilson(0, 0) gives, is shown as "no data"
  int64_t n = 0;
  std::string group;  // rows of one group stand together under its name; may be empty
};

// Means as points with their interval as whiskers, one row each.
struct IntervalPlot {
  std::string title, x_label;
  std::vector<IntervalRow> rows;
  std::vector<Reference> references;
  int digits = 2;  // of the values written beside the rows
  std::string note;
};

// Clouds of points; low and high of the series are not used. The caption gives each cloud's rank correlation.
struct ScatterPlot {
  std::string title, x_label, y_label;
  std::vector<Series> groups;
  std::string note;
};

struct Bar {
  std::string label;
  double value = 0;  // >= 0
  std::string text;  // written beside the bar; empty: the value itself
};

struct BarPlot {
  std::string title, x_label;
  std::vector<Bar> bars;
  std::string note;
};

// Steps in the order in which they ran, one row each, with an arc from every step to those that read it; an arc that a chain of others
// implies is left out.
struct GraphPlot {
  struct Node {
    std::string name, detail;
    std::vector<size_t> inputs;  // earlier nodes
  };
  std::string title;
  std::vector<Node> nodes;
  std::string note;
};

// A matrix as cells, the darker the larger the value (0 is empty): one row a label, one column a label.
struct HeatPlot {
  struct Row {
    std::string label;
    std::vector<double> values;  // one a column
  };
  std::string title, x_label, y_label, value_label;
  std::vector<std::string> columns;
  std::vector<Row> rows;
  std::string note;
};

struct ModelAnswer {
  std::string model, text;
  std::vector<std::pair<std::string, double>> scores;  // {"gold helpfulness", 0.8}
};

// One prompt and the answers of several models side by side.
struct SampleDialogue {
  std::string title;  // "hazard: illicit, psychological attack"
  std::vector<core::Message> prompt;
  std::vector<ModelAnswer> answers;
};

using Block = std::variant<Table, LinePlot, HistogramPlot, IntervalPlot, ScatterPlot, BarPlot, GraphPlot, HeatPlot, SampleDialogue>;

}  // namespace keel::evaluation
