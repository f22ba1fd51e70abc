// Figures with two numeric axes: curves, clouds of points, distributions.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "evaluation/figures.h"
#include "evaluation/statistics/describe.h"

namespace keel::evaluation {
namespace {

// Dashes tell short curves apart; on a long, noisy curve they are unreadable, so it has markers only.
bool dashed(const Series& series) {
  return series.y.size() <= 60;
}

Size plot_size(const Look& look) {
  return look.small ? Size{330, 210} : Size{450, 270};
}

void expect_lengths(const std::string& title, const Series& series, bool bands) {
  const size_t count = series.y.size();
  const auto fits = [&](const std::vector<double>& values) { return values.size() == count || (bands && values.empty()); };
  if (series.x.size() == count && (!bands || (fits(series.low) && series.low.size() == series.high.size()))) return;
  throw core::Error(
      core::Exit::internal,
      fmt::format("[evaluation.report] figure '{}', series '{}': {} x, {} y, {} low and {} high values; one length is required "
                  "(no low and high: no band)",
                  title, series.name, series.x.size(), count, series.low.size(), series.high.size()));
}

bool point_drawable(const Series& series, size_t i) {
  return drawable(series.x[i]) && drawable(series.y[i]);
}

int64_t count_undrawable(const Series& series) {
  int64_t count = 0;
  for (size_t i = 0; i < series.y.size(); ++i)
    count += point_drawable(series, i) ? 0 : 1;
  return count;
}

// Runs of drawn points between gaps.
std::vector<std::vector<size_t>> runs(const Series& series, const std::vector<size_t>& kept) {
  std::vector<std::vector<size_t>> result(1);
  for (const size_t i : kept) {
    if (point_drawable(series, i)) {
      result.back().push_back(i);
    } else if (!result.back().empty()) {
      result.emplace_back();
    }
  }
  if (result.back().empty()) result.pop_back();
  return result;
}

std::string point_text(const Frame& frame, double x, double y) {
  return coordinate(frame.at_x(x)) + " " + coordinate(frame.at_y(y));
}

std::string line_path(const Series& series, const std::vector<size_t>& run, const Frame& frame) {
  std::string path = "M";
  for (size_t k = 0; k < run.size(); ++k)
    path += (k == 0 ? "" : "L") + point_text(frame, series.x[run[k]], series.y[run[k]]);
  return run.size() == 1 ? path + "h0" : path;  // round caps make a lone point visible
}

std::string band_path(const Series& series, const std::vector<size_t>& run, const Frame& frame) {
  std::string above, below;
  for (const size_t i : run) {
    if (!drawable(series.low[i]) || !drawable(series.high[i])) continue;
    above += (above.empty() ? "M" : "L") + point_text(frame, series.x[i], series.high[i]);
    below = "L" + point_text(frame, series.x[i], series.low[i]) + below;
  }
  return above.empty() ? "" : above + below + "z";
}

// Markers at every point of a short curve, at about six of a long one; each curve starts at another point, so that markers do not coincide.
std::string curve_markers(const Series& series, const std::vector<size_t>& kept, const Frame& frame, size_t slot) {
  const size_t step = kept.size() <= 25 ? 1 : kept.size() / 6;
  std::string path;
  for (size_t k = step == 1 ? 0 : step / 4 + slot * step / 5 % step; k < kept.size(); k += step) {
    const size_t i = kept[k];
    if (point_drawable(series, i)) path += marker_path(slot, frame.at_x(series.x[i]), frame.at_y(series.y[i]), step == 1 ? 2.6 : 3.4);
  }
  return path.empty() ? "" : fmt::format("<path class=\"dot\" d=\"{}\"/>\n", path);
}

// One red mark for all values of a 4-pixel stretch that are not finite.
std::string red_marks(const Series& series, const Frame& frame) {
  std::string marks;
  std::vector<bool> marked(static_cast<size_t>(frame.width), false);
  for (size_t i = 0; i < series.x.size(); ++i) {
    if (point_drawable(series, i) || !drawable(series.x[i])) continue;
    const double x = std::clamp(frame.at_x(series.x[i]), frame.left, frame.right);  // a scatter plot's range leaves such points out
    const auto stretch = static_cast<size_t>(x / 4);
    if (!marked[stretch]) marks += bad_mark(x, frame.bottom - 6);
    marked[stretch] = true;
  }
  return marks;
}

std::string curve(const Series& series, size_t slot, const Frame& frame, const Look& look, bool markers) {
  const std::vector<size_t> kept = thin(series, look.detail.points);
  std::string lines, bands;
  for (const auto& run : runs(series, kept)) {
    lines += line_path(series, run, frame);
    if (!series.low.empty()) bands += band_path(series, run, frame);
  }
  std::string svg = fmt::format("<g class=\"{}\">", colour_class(slot));
  if (!bands.empty()) svg += fmt::format("<path class=\"area\" d=\"{}\"/>\n", bands);
  if (!lines.empty())
    svg += fmt::format("<path class=\"line{}\"{} d=\"{}\"/>\n", dashed(series) ? "" : " long", dashed(series) ? dash_attribute(slot) : "",
                       lines);
  if (markers) svg += curve_markers(series, kept, frame, slot);
  return svg + red_marks(series, frame) + "</g>\n";
}

std::string series_name(const Series& series, const std::string& otherwise) {
  return series.name.empty() ? otherwise : series.name;
}

std::vector<Cell> values_at(const Series& series, size_t i, bool band) {
  std::vector<Cell> cells = {value_text(series.y[i])};
  if (band)
    cells.insert(cells.end(), {series.low.empty() ? "" : value_text(series.low[i]), series.high.empty() ? "" : value_text(series.high[i])});
  return cells;
}

// Side by side, for series that share their x.
Table wide_table(const std::vector<Series>& all, const std::string& x_label, const std::string& y_label, size_t limit) {
  Table table;
  table.columns = {{x_label, ColumnKind::number}};
  for (const Series& series : all) {
    const std::string name = series_name(series, y_label);
    table.columns.push_back({name, ColumnKind::number});
    if (series.low.empty()) continue;
    table.columns.insert(table.columns.end(), {{name + ", low", ColumnKind::number}, {name + ", high", ColumnKind::number}});
  }
  const size_t count = all.empty() ? 0 : all.front().x.size();
  const size_t step = std::max<size_t>((count + limit - 1) / limit, 1);
  for (size_t i = 0; i < count; i += step) {
    table.rows.push_back({value_text(all.front().x[i])});
    for (const Series& series : all) {
      const std::vector<Cell> cells = values_at(series, i, !series.low.empty());
      table.rows.back().insert(table.rows.back().end(), cells.begin(), cells.end());
    }
  }
  if (step > 1) table.note = fmt::format("One row in {}; {} rows in all.", step, count);
  return table;
}

// One series below the other, each with its share of the rows.
Table long_table(const std::vector<Series>& all, const std::string& x_label, const std::string& y_label, size_t limit) {
  const bool band = std::any_of(all.begin(), all.end(), [](const Series& series) { return !series.low.empty(); });
  const size_t share = std::max<size_t>(limit / all.size(), 1);
  Table table;
  table.columns = {{"series"}, {x_label, ColumnKind::number}, {y_label, ColumnKind::number}};
  if (band) table.columns.insert(table.columns.end(), {{"low", ColumnKind::number}, {"high", ColumnKind::number}});
  size_t rows = 0;
  for (const Series& series : all) {
    rows += series.x.size();
    const size_t step = std::max<size_t>((series.x.size() + share - 1) / share, 1);
    for (size_t i = 0; i < series.x.size(); i += step) {
      table.rows.push_back({series.name, value_text(series.x[i])});
      const std::vector<Cell> cells = values_at(series, i, band);
      table.rows.back().insert(table.rows.back().end(), cells.begin(), cells.end());
    }
  }
  if (table.rows.size() < rows) table.note = fmt::format("At most {} rows of a series, evenly spaced; {} rows in all.", share, rows);
  return table;
}

Table series_table(const std::vector<Series>& all, const std::string& x_label, const std::string& y_label, size_t limit) {
  const bool shared = std::all_of(all.begin(), all.end(), [&](const Series& series) { return series.x == all.front().x; });
  return shared ? wide_table(all, x_label, y_label, limit) : long_table(all, x_label, y_label, limit);
}

std::vector<std::string> names_of(const std::vector<Series>& all) {
  std::vector<std::string> names;
  for (const Series& series : all)
    names.push_back(series.name);
  return names;
}

std::string counts_text(const std::vector<Series>& all) {
  if (all.empty()) return "No data.";
  const bool equal = std::all_of(all.begin(), all.end(), [&](const Series& series) { return series.y.size() == all.front().y.size(); });
  if (equal) return fmt::format("{} points{}.", all.front().y.size(), all.size() > 1 ? " each" : "");
  std::string text;
  for (const Series& series : all)
    text += fmt::format("{}{} ({})", text.empty() ? "Points: " : ", ", series.y.size(), series.name);
  return text + ".";
}

bool whole(const std::vector<Series>& all) {
  for (const Series& series : all) {
    for (const double x : series.x) {
      if (drawable(x) && x != std::floor(x)) return false;
    }
  }
  return true;
}

std::string no_data(const Frame& frame) {
  return text_at((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, "middle", "label", "no data");
}

}  // namespace

std::string render_figure(const LinePlot& plot, const Look& look) {
  Figure figure{plot.title, plot.y_label + " over " + plot.x_label + ".", "", "", plot_size(look), counts_text(plot.series), 0, plot.note,
                {}};
  Range x, y;
  for (const Series& series : plot.series) {
    expect_lengths(plot.title, series, true);
    for (const double value : series.x)
      x.add(value);
    for (const auto* values : {&series.y, &series.low, &series.high}) {
      for (const double value : *values)
        y.add(value);
    }
    figure.not_finite += count_undrawable(series);
    if (series.y.size() > look.detail.points) figure.caption += " Thinned; each stretch keeps its least and its greatest value.";
  }
  for (const Reference& reference : plot.references)
    y.add(reference.value);
  const bool empty = x.empty();
  const Frame frame = draw_axes(figure.drawing, figure.size, x.padded(0), y.padded(0.05), plot.x_label, plot.y_label, whole(plot.series));
  for (const Reference& reference : plot.references) {
    if (!drawable(reference.value)) continue;
    const double at = frame.at_y(reference.value);
    figure.drawing +=
        fmt::format("<path class=\"reference\" d=\"M{} {}H{}\"/>", coordinate(frame.left), coordinate(at), coordinate(frame.right));
    figure.drawing += text_at(frame.right, at - 4, "end", "halo", reference.label);
  }
  const std::vector<size_t> looks = slots(names_of(plot.series), look.models);
  const bool several = plot.series.size() > 1;
  std::string below, above;  // short curves are drawn above long, noisy ones
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const Series& series = plot.series[i];
    const std::string drawn = curve(series, looks[i], frame, look, several || series.y.size() <= 25);
    (dashed(series) ? above : below) += drawn;
    if (several || !series.name.empty()) {
      figure.legend += legend_item(Swatch::line, looks[i], series.name + (series.y.empty() ? " (no data)" : ""), dashed(series));
    }
    if (series.y.empty()) continue;
    figure.description += fmt::format(" {}: from {} to {}.", series.name.empty() ? "The curve" : series.name, value_text(series.y.front()),
                                      value_text(series.y.back()));
  }
  figure.drawing += empty ? no_data(frame) : below + above;
  figure.data = series_table(plot.series, plot.x_label, plot.y_label, look.detail.rows);
  return figure_html(figure, look);
}

std::string render_figure(const ScatterPlot& plot, const Look& look) {
  Figure figure{
      plot.title, plot.y_label + " against " + plot.x_label + ".", "", "", plot_size(look), counts_text(plot.groups), 0, plot.note, {}};
  Range x, y;
  for (const Series& group : plot.groups) {
    expect_lengths(plot.title, group, false);
    for (size_t i = 0; i < group.y.size(); ++i) {
      if (!point_drawable(group, i)) continue;
      x.add(group.x[i]);
      y.add(group.y[i]);
    }
    figure.not_finite += count_undrawable(group);
  }
  const bool empty = x.empty();
  const Frame frame = draw_axes(figure.drawing, figure.size, x.padded(0.04), y.padded(0.06), plot.x_label, plot.y_label, false);
  const std::vector<size_t> looks = slots(names_of(plot.groups), look.models);
  for (size_t g = 0; g < plot.groups.size(); ++g) {
    const Series& group = plot.groups[g];
    Series finite;
    std::string path;
    const size_t step = std::max<size_t>((group.y.size() + look.detail.points - 1) / look.detail.points, 1);
    for (size_t i = 0; i < group.y.size(); ++i) {
      if (!point_drawable(group, i)) continue;
      finite.x.push_back(group.x[i]);
      finite.y.push_back(group.y[i]);
      if (i % step == 0) path += marker_path(looks[g], frame.at_x(group.x[i]), frame.at_y(group.y[i]), 2.6);
    }
    figure.drawing += fmt::format("<path class=\"cloud {}\" d=\"{}\"/>\n", colour_class(looks[g]), path);
    figure.drawing += red_marks(group, frame);
    const double correlation = statistics::spearman(finite.x, finite.y);
    const std::string told = std::isnan(correlation) ? "" : fmt::format("rank correlation {:.2f}", correlation);
    if (plot.groups.size() > 1 || !group.name.empty()) {
      figure.legend += legend_item(Swatch::marker, looks[g], group.name + (told.empty() ? "" : " (" + told + ")"));
    } else if (!told.empty()) {
      figure.caption += " " + told + ".";
    }
    if (!told.empty()) figure.description += " " + group.name + ": " + told + ".";
    if (step > 1) figure.caption += fmt::format(" One point in {} is drawn.", step);
  }
  if (empty) figure.drawing += no_data(frame);
  figure.data = series_table(plot.groups, plot.x_label, plot.y_label, look.detail.rows);
  return figure_html(figure, look);
}

}  // namespace keel::evaluation
