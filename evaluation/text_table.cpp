#include "evaluation/text_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace keel::evaluation {
namespace {

std::string fixed_text(double value, int digits) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{:.{}f}", value, digits);
  if (text.find_first_not_of("-0.") == std::string::npos && text.front() == '-') text.erase(0, 1);  // -0.00
  return text;
}

std::string printable(const std::string& text) {
  std::string result = text;
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return result;
}

size_t code_points(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string pad(const std::string& text, size_t width, bool right) {
  const size_t length = code_points(text);
  const std::string spaces(length < width ? width - length : 0, ' ');
  return right ? spaces + text : text + spaces;
}

struct Widths {
  size_t text = 0, detail = 0, whole = 0;
};

Widths column_widths(const Table& table, size_t column) {
  Widths widths;
  for (const auto& row : table.rows) {
    widths.text = std::max(widths.text, code_points(row[column].text));
    widths.detail = std::max(widths.detail, code_points(row[column].detail));
  }
  widths.whole = std::max(code_points(table.columns[column].name), widths.text + (widths.detail > 0 ? widths.detail + 1 : 0));
  return widths;
}

std::string cell_text(const Cell& cell, const Widths& widths, bool right) {
  std::string text = pad(printable(cell.text), widths.text, right);
  if (widths.detail > 0) text += " " + pad(printable(cell.detail), widths.detail, false);
  return pad(text, widths.whole, right);
}

void end_line(std::string& text) {
  text.erase(text.find_last_not_of(' ') + 1);
  text += '\n';
}

}  // namespace

Cell number_cell(double value, int digits) {
  return fixed_text(value, digits);
}

Cell interval_cell(const statistics::Interval& interval, int digits) {
  return {fixed_text(interval.mean, digits), fmt::format("[{}, {}]", fixed_text(interval.low, digits), fixed_text(interval.high, digits))};
}

std::string render_text(const Table& table) {
  std::vector<Widths> widths;
  for (const auto& row : table.rows) {
    if (row.size() == table.columns.size()) continue;
    throw core::Error(core::Exit::internal, fmt::format("[evaluation.text_table] table '{}' has {} columns, but a row of {} cells",
                                                        table.title, table.columns.size(), row.size()));
  }
  std::string heading, rule, body;
  for (size_t column = 0; column < table.columns.size(); ++column) {
    widths.push_back(column_widths(table, column));
    const std::string gap = column == 0 ? "" : "  ";
    heading += gap + pad(printable(table.columns[column].name), widths[column].whole, table.columns[column].kind == ColumnKind::number);
    rule += gap + std::string(widths[column].whole, '-');
  }
  end_line(heading);
  end_line(rule);
  for (const auto& row : table.rows) {
    std::string line;
    for (size_t column = 0; column < row.size(); ++column) {
      line += (column == 0 ? "" : "  ") + cell_text(row[column], widths[column], table.columns[column].kind == ColumnKind::number);
    }
    end_line(line);
    body += line;
  }
  const std::string title = table.title.empty() ? "" : printable(table.title) + "\n\n";
  const std::string note = table.note.empty() ? "" : "\n" + printable(table.note) + "\n";
  return title + heading + rule + body + note;
}

}  // namespace keel::evaluation
