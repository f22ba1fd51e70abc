#include "data/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/interrupt.h"
#include "data/text.h"

namespace keel::data {

CsvReader::CsvReader(const std::filesystem::path& path) : lines_(path) {
  if (!next_cells(columns_)) throw core::DataError(lines_.path(), 0, "is empty; its first line must name the columns");
  for (size_t i = 0; i < columns_.size(); ++i) {
    columns_[i] = std::string(strip(columns_[i]));
    if (columns_[i].empty()) throw error(fmt::format("column {} has no name", i + 1));
    if (std::find(columns_.begin(), columns_.begin() + static_cast<std::ptrdiff_t>(i), columns_[i]) !=
        columns_.begin() + static_cast<std::ptrdiff_t>(i))
      throw error(fmt::format("two columns are named \"{}\"", columns_[i]));
  }
}

bool CsvReader::next(nlohmann::json& row) {
  if (core::interrupt_requested()) throw core::Interrupted("stopped while reading " + path());
  std::vector<std::string> cells;
  if (!next_cells(cells)) return false;
  if (cells.size() != columns_.size())
    throw error(fmt::format("the row has {} cells, but the first line names {} columns; a cell with a comma must stand in quotes",
                            cells.size(), columns_.size()));
  row = nlohmann::json::object();
  for (size_t i = 0; i < cells.size(); ++i)
    row[columns_[i]] = cells[i].empty() ? nlohmann::json() : nlohmann::json(std::move(cells[i]));
  return true;
}

// The cells of the next row, over as many lines as it takes; false at the end.
bool CsvReader::next_cells(std::vector<std::string>& cells) {
  std::string text;
  do {
    if (!lines_.next(text)) return false;
  } while (strip(text).empty());
  line_ = lines_.line();
  cells.assign(1, "");
  enum class Where { begin, plain, quoted, after_quote } where = Where::begin;
  for (size_t i = 0;; ++i) {
    if (i == text.size()) {
      if (where != Where::quoted) return true;
      if (!lines_.next(text)) throw error("a quoted cell of this row is never closed");
      cells.back() += '\n';
      i = std::string::npos;  // the loop goes on at 0
      continue;
    }
    const char c = text[i];
    if (where == Where::quoted) {
      if (c == '"')
        where = Where::after_quote;
      else
        cells.back() += c;
    } else if (c == ',') {
      cells.emplace_back();
      where = Where::begin;
    } else if (c == '"' && where != Where::plain) {
      if (where == Where::after_quote) cells.back() += c;  // the second of two: a quote inside the cell
      where = Where::quoted;
    } else if (c == '"' || where == Where::after_quote) {
      throw error(fmt::format("a quote out of place in cell {}: a cell with quotes must stand in quotes, each quote inside it doubled",
                              cells.size()));
    } else {
      cells.back() += c;
      where = Where::plain;
    }
  }
}

}  // namespace keel::data
