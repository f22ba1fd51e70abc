// The figure of a matrix: darker cells hold larger values.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "evaluation/figures.h"

namespace keel::evaluation {
namespace {

constexpr double kRowHeight = 18;
constexpr double kAxis = 34;  // labels below the cells

}  // namespace

std::string render_figure(const HeatPlot& plot, const Look& look) {
  Figure figure{.title = plot.title,
                .description = fmt::format("{} rows of {} cells; darker is more.", plot.rows.size(), plot.columns.size()),
                .legend = {},
                .drawing = {},
                .size = {look.small ? 330.0 : 450.0, kRowHeight * static_cast<double>(plot.rows.size()) + kAxis},
                .caption = {},
                .not_finite = 0,
                .note = plot.note,
                .data = {.title = "", .columns = {{plot.y_label}}, .rows = {}, .note = {}}};
  Range range;
  range.add(0);
  double labels = 0;
  for (const auto& row : plot.rows) {
    if (row.values.size() != plot.columns.size())
      throw core::Error(core::Exit::internal, fmt::format("[evaluation.heat] row \"{}\" of \"{}\" has {} values for {} columns", row.label,
                                                          plot.title, row.values.size(), plot.columns.size()));
    labels = std::max(labels, text_width(row.label));
    for (const double value : row.values)
      range.add(value);
  }
  for (const auto& column : plot.columns)
    figure.data.columns.push_back({column, ColumnKind::number});
  const double left = std::min(labels, 0.3 * figure.size.width) + 10;
  const double cell = (figure.size.width - left - 4) / static_cast<double>(std::max<size_t>(plot.columns.size(), 1));
  for (size_t y = 0; y < plot.rows.size(); ++y) {
    const double top = kRowHeight * static_cast<double>(y);
    figure.drawing += text_at(left - 8, top + kRowHeight - 5, "end", "tick", shorten(plot.rows[y].label, left - 10));
    std::vector<Cell> numbers = {plot.rows[y].label};
    std::string cells;
    for (size_t x = 0; x < plot.columns.size(); ++x) {
      const double value = plot.rows[y].values[x], place = left + cell * static_cast<double>(x);
      numbers.push_back(value_text(value));
      if (!drawable(value)) {
        ++figure.not_finite;
        figure.drawing += bad_mark(place + cell / 2, top + kRowHeight / 2);
      } else if (range.high > 0) {
        cells += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"currentColor\" fill-opacity=\"{:.2f}\"/>",
                             coordinate(place), coordinate(top), coordinate(cell), coordinate(kRowHeight - 1),
                             std::max(value, 0.0) / range.high);
      }
    }
    figure.drawing += fmt::format("<g class=\"{}\">{}</g>\n", colour_class(0), cells);
    figure.data.rows.push_back(std::move(numbers));
  }
  const double below = kRowHeight * static_cast<double>(plot.rows.size()) + 12;
  if (!plot.columns.empty()) {
    figure.drawing += text_at(left, below, "start", "tick", plot.columns.front());
    if (plot.columns.size() > 1) figure.drawing += text_at(figure.size.width - 4, below, "end", "tick", plot.columns.back());
  }
  figure.drawing += text_at((left + figure.size.width) / 2, below + 16, "middle", "label", plot.x_label);
  figure.caption = fmt::format("{} from 0 (empty) to {} (full).", plot.value_label, value_text(std::max(range.high, 0.0)));
  return figure_html(figure, look);
}

}  // namespace keel::evaluation
