// Each kind of figure as one <figure>: title, legend beside the data, drawing with a description, n, note and the numbers as a table.
#pragma once

#include <string>
#include <vector>

#include "evaluation/plots.h"
#include "evaluation/svg.h"

namespace keel::evaluation {

// Limits of what is shown; a page that is too large is made again with lower ones.
struct Detail {
  size_t points = 2000;  // drawn of one curve or cloud
  size_t rows = 200;     // of a figure's data table; tables of their own show five times as many
  size_t text = 4000;    // bytes of one message or answer
};

struct Look {
  std::vector<std::string> models;  // names with a fixed colour, in order
  Detail detail;
  bool small = false;
  size_t number = 0;  // of the figure on its page, for unique ids
};

// These throw core::Error where the vectors of a series differ in length.
std::string render_figure(const LinePlot& plot, const Look& look);
std::string render_figure(const HistogramPlot& plot, const Look& look);
std::string render_figure(const ScatterPlot& plot, const Look& look);
std::string render_figure(const IntervalPlot& plot, const Look& look);
std::string render_figure(const BarPlot& plot, const Look& look);
std::string render_figure(const HeatPlot& plot, const Look& look);
std::string render_figure(const GraphPlot& plot, const Look& look);  // core::Error also where a node reads a later one

// <table> in a box that scrolls sideways, with its first `limit` rows; throws core::Error for a row of another width.
std::string html_table(const Table& table, size_t limit);

// What all figures share, filled by each kind.
struct Figure {
  std::string title, description;
  std::string legend;   // HTML, may be empty
  std::string drawing;  // inside of <svg>
  Size size;
  std::string caption;     // text: n and what the reader must know
  int64_t not_finite = 0;  // values shown as red marks
  std::string note;
  Table data;
};
std::string figure_html(const Figure& figure, const Look& look);

// Slots (colour, marker, dash) of the names in a figure: a model keeps its own, other names get the first free ones, equal names share one.
std::vector<size_t> slots(const std::vector<std::string>& names, const std::vector<std::string>& models);

enum class Swatch { line, area, marker };
std::string legend_item(Swatch swatch, size_t slot, const std::string& text, bool dashed = true);

}  // namespace keel::evaluation
