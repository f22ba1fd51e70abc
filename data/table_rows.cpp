#include "data/table_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "data/csv.h"
#include "data/messages.h"

namespace keel::data {
namespace {

using nlohmann::json;

bool is_table(std::filesystem::path file) {
  if (file.extension() == ".gz" || file.extension() == ".zst") file = file.stem();
  return file.extension() == ".csv";
}

void read_integer(json& cell) {
  const auto& text = cell.get_ref<const std::string&>();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size()) cell = number;
}

void read_label(json& cell) {
  const auto& text = cell.get_ref<const std::string&>();
  if (text == "true" || text == "True" || text == "TRUE")
    cell = true;
  else if (text == "false" || text == "False" || text == "FALSE")
    cell = false;
}

void read_cells(json& row, const std::vector<std::string>& names, void (*read)(json& cell)) {
  for (const auto& name : names)
    if (member(row, name) != nullptr) read(row[name]);
}

template <class Reader>
void use_rows(Reader& reader, const TableColumns& columns, const std::function<void(const json&, int64_t)>& use) {
  for (json row; reader.next(row);) {
    read_cells(row, columns.integers, read_integer);
    read_cells(row, columns.labels, read_label);
    with_place(reader.path(), reader.line(), [&] { use(row, reader.line()); });
  }
}

}  // namespace

void for_each_row(const std::filesystem::path& file, const TableColumns& columns,
                  const std::function<void(const json& row, int64_t line)>& use) {
  if (!is_table(file)) {
    core::JsonlReader reader(file);
    return use_rows(reader, {}, use);
  }
  CsvReader reader(file);
  for (const auto& needed : columns.needed)
    if (std::ranges::count(reader.columns(), needed) == 0)
      throw reader.error(fmt::format("there is no column \"{}\", only \"{}\"", needed, fmt::join(reader.columns(), "\", \"")));
  use_rows(reader, columns, use);
}

}  // namespace keel::data
