// Tables with commas, as people keep them: RFC 4180, the first line naming the columns.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/jsonl.h"

namespace keel::data {

// One object a row, {"column": "text of the cell"}, null for an empty cell. Cells may stand in quotes, with commas, line breaks and doubled
// quotes inside; a line break inside a cell becomes "\n" whatever the file has. Plain, .gz or .zst files, with CRLF or a byte order mark
// too; blank lines are skipped. DataError with file and line for a table without columns, columns without a name or of equal names, rows of
// another length, and quotes out of place.
class CsvReader {
 public:
  explicit CsvReader(const std::filesystem::path& path);  // reads the first line
  bool next(nlohmann::json& row);
  const std::vector<std::string>& columns() const { return columns_; }
  int64_t line() const { return line_; }  // where the row last returned begins
  const std::string& path() const { return lines_.path(); }
  core::DataError error(const std::string& text) const { return {path(), line_, text}; }

 private:
  bool next_cells(std::vector<std::string>& cells);

  core::LineReader lines_;
  std::vector<std::string> columns_;
  int64_t line_ = 0;
};

}  // namespace keel::data
