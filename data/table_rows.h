// Rows of a file that is a table (.csv) or JSON lines (any other name); either may be .gz or .zst.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace keel::data {

// What the columns of a table hold; the cells of a table are text, while JSON lines say their types themselves.
struct TableColumns {
  std::vector<std::string> needed = {};    // must be there
  std::vector<std::string> integers = {};  // 4
  std::vector<std::string> labels = {};    // true or false, in capitals too, as spreadsheets and pandas write them
};

// Calls use(row, line) for each row in order. A cell of `integers` or `labels` that holds something else stays text, for the caller's own
// checks to refuse. DataError with file and line for a malformed file, for a table without a needed column, and where `use` throws
// std::invalid_argument.
void for_each_row(const std::filesystem::path& file, const TableColumns& columns,
                  const std::function<void(const nlohmann::json& row, int64_t line)>& use);

}  // namespace keel::data
