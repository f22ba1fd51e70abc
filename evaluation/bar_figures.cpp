// Figures of shares and rows: distributions, intervals, bars.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "evaluation/figures.h"
#include "evaluation/statistics/describe.h"

namespace keel::evaluation {
namespace {

// Common bins with round edges, about 30 over all groups.
std::vector<double> common_edges(const Range& range) {
  const double step = nice_step(range.high - range.low, 30);
  const double first = std::floor(range.low / step + 1e-9);
  const double last = std::ceil(range.high / step - 1e-9);
  std::vector<double> edges;
  for (double i = first; i <= last; i += 1)
    edges.push_back(i * step);
  edges.front() = std::min(edges.front(), range.low);  // rounding must not leave the extremes outside
  edges.back() = std::max(edges.back(), range.high);
  return edges;
}

std::vector<double> drawable_values(const std::vector<double>& values) {
  std::vector<double> result;
  std::copy_if(values.begin(), values.end(), std::back_inserter(result), drawable);
  return result;
}

std::string distribution(const statistics::Histogram& bins, const std::vector<double>& shares, double mean, size_t slot,
                         const Frame& frame) {
  std::string steps = fmt::format("M{} {}", coordinate(frame.at_x(bins.edges.front())), coordinate(frame.bottom));
  for (size_t bin = 0; bin < shares.size(); ++bin) {
    steps += fmt::format("V{}H{}", coordinate(frame.at_y(shares[bin])), coordinate(frame.at_x(bins.edges[bin + 1])));
  }
  steps += "V" + coordinate(frame.bottom);
  const std::string centre = coordinate(frame.at_x(mean));
  return fmt::format(
      "<g class=\"{}\"><path class=\"area\" d=\"{}\"/><path class=\"line\"{} d=\"{}\"/>"
      "<path class=\"mean\" d=\"M{} {}V{}\"/><path class=\"dot\" d=\"{}\"/></g>\n",
      colour_class(slot), steps, dash_attribute(slot), steps, centre, coordinate(frame.top), coordinate(frame.bottom),
      marker_path(slot, frame.at_x(mean), frame.top, 3.4));
}

Table histogram_table(const std::vector<SampleGroup>& groups, const std::vector<statistics::Histogram>& bins, const std::string& x_label) {
  Table table{"", {{x_label + ", from", ColumnKind::number}, {"to", ColumnKind::number}}, {}, "Counts in each bin."};
  for (const SampleGroup& group : groups)
    table.columns.push_back({group.name, ColumnKind::number});
  for (size_t bin = 0; !bins.empty() && bin < bins.front().counts.size(); ++bin) {
    std::vector<Cell> row = {value_text(bins.front().edges[bin]), value_text(bins.front().edges[bin + 1])};
    for (const auto& group : bins)
      row.push_back(std::to_string(group.counts[bin]));
    table.rows.push_back(std::move(row));
  }
  return table;
}

// A figure of rows, from left to right: label, n, plot, value.
struct Row {
  std::string label, count, value;
  bool heading = false;  // the name of a group, alone on its line
};

double column_width(const std::vector<Row>& rows, std::string Row::*column) {
  double width = 0;
  for (const Row& row : rows)
    width = std::max(width, row.heading ? 0 : text_width(row.*column));
  return width;
}

constexpr double kRow = 24;        // height of a row
constexpr double kFirstLine = 12;  // baseline of the column headings

double row_centre(const Frame& frame, size_t row) {
  return frame.top + 14 + kRow * static_cast<double>(row);
}

// Returns the plot's place between the columns; appends all texts and the x axis to `svg`.
Frame draw_rows(std::string& svg, const std::vector<Row>& rows, const Range& x, const std::string& x_label,
                const std::string& value_heading, const Look& look) {
  const double counts = column_width(rows, &Row::count);
  Frame frame;
  frame.width = look.small ? 330 : 450;
  const double labels = std::min(column_width(rows, &Row::label), 0.36 * frame.width);
  frame.left = labels + (counts > 0 ? counts + 12 : 0) + 16;
  frame.right = frame.width - std::max(column_width(rows, &Row::value), text_width(value_heading)) - 14;
  frame.top = value_heading.empty() ? 0 : 20;
  frame.bottom = row_centre(frame, std::max<size_t>(rows.size(), 1)) - 8;
  frame.height = frame.bottom + 40;
  frame.x = x;
  draw_x_axis(svg, frame, x_label, false);
  if (counts > 0) svg += text_at(frame.left - 12, kFirstLine, "end", "label", "n");
  if (!value_heading.empty()) svg += text_at(frame.width - 2, kFirstLine, "end", "label", value_heading);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double y = row_centre(frame, i) + 4;
    if (rows[i].heading) {
      svg += text_at(2, y, "start", "group", rows[i].label);
      continue;
    }
    svg += text_at(labels + 4, y, "end", "", shorten(rows[i].label, labels));
    if (!rows[i].count.empty()) svg += text_at(frame.left - 12, y, "end", "tick", rows[i].count);
    svg += text_at(frame.width - 2, y, "end", "", rows[i].value);
  }
  return frame;
}

std::string whisker(const Frame& frame, const statistics::Interval& interval, size_t slot, double y) {
  std::string svg = fmt::format("<g class=\"{}\">", colour_class(slot));
  if (drawable(interval.low) && drawable(interval.high)) {
    const std::string low = coordinate(frame.at_x(interval.low)), high = coordinate(frame.at_x(interval.high)), end = coordinate(y - 4);
    svg += fmt::format("<path class=\"whisker\" d=\"M{0} {1}H{2}M{0} {3}v8M{2} {3}v8\"/>", low, coordinate(y), high, end);
  }
  return svg + fmt::format("<path class=\"dot\" d=\"{}\"/></g>\n", marker_path(slot, frame.at_x(interval.mean), y, 4.2));
}

std::string interval_text(const IntervalRow& row, int digits) {
  if (std::isnan(row.interval.mean)) return "no data";
  const Cell cell = interval_cell(row.interval, digits);
  return cell.text + " " + cell.detail;
}

bool opens_group(const IntervalPlot& plot, size_t i) {
  return !plot.rows[i].group.empty() && (i == 0 || plot.rows[i - 1].group != plot.rows[i].group);
}

}  // namespace

std::string render_figure(const HistogramPlot& plot, const Look& look) {
  Figure figure{
      plot.title, "Distributions of " + plot.x_label + ".", "", "", look.small ? Size{330, 210} : Size{450, 270}, "", 0, plot.note, {}};
  Range x, y;
  y.add(0);
  std::vector<std::string> names;
  for (const SampleGroup& group : plot.groups) {
    for (const double value : group.values) {
      x.add(value);
      figure.not_finite += drawable(value) ? 0 : 1;
    }
    names.push_back(group.name);
  }
  const bool empty = x.empty();
  x = x.padded(0);
  std::vector<statistics::Histogram> bins;
  std::vector<std::vector<double>> shares;
  for (const SampleGroup& group : plot.groups) {
    const std::vector<double> values = drawable_values(group.values);
    bins.push_back(statistics::histogram(values, common_edges(x)));
    shares.emplace_back();
    const double all = std::max<double>(1, static_cast<double>(values.size()));
    for (const int64_t count : bins.back().counts)
      y.add(shares.back().emplace_back(static_cast<double>(count) / all));
  }
  if (!bins.empty()) x = {bins.front().edges.front(), bins.front().edges.back()};
  if (y.high <= 0) y.add(1);
  y.high *= 1.08;
  const Frame frame = draw_axes(figure.drawing, figure.size, x, y, plot.x_label, plot.y_label, false);
  const std::vector<size_t> looks = slots(names, look.models);
  for (size_t g = 0; g < plot.groups.size(); ++g) {
    const std::vector<double> values = drawable_values(plot.groups[g].values);
    std::string told = plot.groups[g].name + " (no data)";
    if (!values.empty()) {
      const double mean = statistics::mean(values);
      told = fmt::format("{}: mean {:.2f}, n = {}", names[g], mean, values.size());
      figure.drawing += distribution(bins[g], shares[g], mean, looks[g], frame);
    }
    figure.legend += legend_item(Swatch::area, looks[g], told);
    figure.description += " " + told + ".";
  }
  for (const Reference& reference : plot.references)
    figure.drawing += vertical_reference(frame, reference, frame.top + 6);
  if (figure.not_finite > 0) figure.drawing += bad_mark(frame.right - 8, frame.top + 8);
  if (empty) figure.drawing += text_at(figure.size.width / 2, figure.size.height / 2, "middle", "label", "no data");
  figure.caption = "Each group's shares add up to 1; vertical lines: means.";
  figure.data = histogram_table(plot.groups, bins, plot.x_label);
  return figure_html(figure, look);
}

std::string render_figure(const IntervalPlot& plot, const Look& look) {
  Figure figure{plot.title, plot.x_label + " with 95 % intervals.", "", "", {}, "Whiskers: 95 % intervals.", 0, plot.note, {}};
  figure.data.columns = {
      {"row"}, {"n", ColumnKind::number}, {"mean", ColumnKind::number}, {"low", ColumnKind::number}, {"high", ColumnKind::number}};
  std::vector<Row> rows;
  std::vector<std::string> names;  // that have a look: the group, or the row if it has no group
  Range x;
  for (size_t i = 0; i < plot.rows.size(); ++i) {
    const IntervalRow& row = plot.rows[i];
    const std::string count = row.n > 0 ? std::to_string(row.n) : "";
    const std::string name = row.group.empty() ? row.label : row.group + ": " + row.label;
    if (opens_group(plot, i)) rows.push_back({row.group, "", "", true});
    rows.push_back({row.label, count, interval_text(row, plot.digits)});
    names.push_back(row.group.empty() ? row.label : row.group);
    figure.data.rows.push_back({name, count, value_text(row.interval.mean), value_text(row.interval.low), value_text(row.interval.high)});
    figure.description += " " + name + ": " + rows.back().value + ".";
    if (!drawable(row.interval.mean)) continue;
    for (const double value : {row.interval.mean, row.interval.low, row.interval.high})
      x.add(value);
  }
  for (const Reference& reference : plot.references)
    x.add(reference.value);
  const Frame frame = draw_rows(figure.drawing, rows, x.padded(0.06), plot.x_label, "mean [95 %]", look);
  figure.size = {frame.width, frame.height};
  for (const Reference& reference : plot.references)
    figure.drawing += vertical_reference(frame, reference, kFirstLine);
  const std::vector<size_t> looks = slots(names, look.models);
  for (size_t i = 0, line = 0; i < plot.rows.size(); ++i, ++line) {
    if (opens_group(plot, i)) ++line;
    if (drawable(plot.rows[i].interval.mean)) {
      figure.drawing += whisker(frame, plot.rows[i].interval, looks[i], row_centre(frame, line));
    } else if (plot.rows[i].n > 0) {
      figure.drawing += bad_mark((frame.left + frame.right) / 2, row_centre(frame, line));
      ++figure.not_finite;
    }
  }
  return figure_html(figure, look);
}

std::string render_figure(const BarPlot& plot, const Look& look) {
  Figure figure{plot.title, plot.x_label + ".", "", "", {}, "", 0, plot.note, {}};
  figure.data.columns = {{"bar"}, {plot.x_label, ColumnKind::number}};
  std::vector<Row> rows;
  Range x;
  x.add(0);
  for (const Bar& bar : plot.bars) {
    rows.push_back({bar.label, "", bar.text.empty() ? value_text(bar.value) : bar.text});
    figure.data.rows.push_back({bar.label, value_text(bar.value)});
    figure.description += " " + bar.label + ": " + rows.back().value + ".";
    x.add(bar.value);
  }
  const Frame frame = draw_rows(figure.drawing, rows, {0, x.high > 0 ? x.high * 1.02 : 1}, plot.x_label, "", look);
  figure.size = {frame.width, frame.height};
  for (size_t i = 0; i < plot.bars.size(); ++i) {
    const double y = row_centre(frame, i), value = plot.bars[i].value;
    if (drawable(value)) {
      const std::string end = coordinate(frame.left + std::max(frame.at_x(std::max(value, 0.0)) - frame.left, 1.0));
      figure.drawing +=
          fmt::format("<path class=\"bar c0\" d=\"M{0} {1}H{2}v13H{0}z\"/>", coordinate(frame.left), coordinate(y - 6.5), end);
    } else {
      figure.drawing += bad_mark(frame.left + 8, y);
      ++figure.not_finite;
    }
  }
  return figure_html(figure, look);
}

}  // namespace keel::evaluation
