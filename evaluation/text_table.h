// A table as plain data, and as aligned text for the terminal; report.h shows the same table as HTML.
#pragma once

#include <string>
#include <vector>

#include "evaluation/statistics/interval.h"

namespace keel::evaluation {

// `detail` follows `text` after a space: an interval's bounds. Columns align both parts.
struct Cell {
  Cell(std::string shown, std::string beside = {}) : text(std::move(shown)), detail(std::move(beside)) {}
  Cell(const char* shown) : text(shown) {}
  std::string text, detail;
};

Cell number_cell(double value, int digits = 2);                            // "0.62"; "NaN", "inf" where it is not finite
Cell interval_cell(const statistics::Interval& interval, int digits = 2);  // "0.62" "[0.58, 0.66]"

enum class ColumnKind { text, number, code };  // numbers are right-aligned, code (digests, keys) is set in a fixed pitch

struct Column {
  std::string name;
  ColumnKind kind = ColumnKind::text;
};

struct Table {
  std::string title;  // may be empty
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // one cell a column
  std::string note;                     // below the table; may be empty
};

// Title, heading, a rule, one line a row, note; no trailing spaces, a line break after the last line. Widths count code points;
// control characters are shown as '?', so that no text of a model reaches the terminal as a command.
// Throws core::Error for a row with more or fewer cells than columns.
std::string render_text(const Table& table);

}  // namespace keel::evaluation
