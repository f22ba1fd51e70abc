// The Parquet files of tests/core/parquet_rows.json, which tools/oracle/parquet_rows.py writes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "core/json.h"
#include "support/test_plain.h"

namespace keel::test {

struct ParquetFile {
  std::string bytes;
  nlohmann::json rows;  // what pyarrow reads; null for a file that keel refuses
};

inline ParquetFile parquet_file(const std::string& name) {
  for (const auto& one : core::read_json_file(std::filesystem::path(KEEL_SOURCE_DIR) / "tests/core/parquet_rows.json")) {
    if (one["name"] != name) continue;
    const auto digits = one["hex"].get<std::string>();
    ParquetFile file{.bytes = {}, .rows = one.value("rows", nlohmann::json())};
    for (size_t i = 0; i < digits.size(); i += 2)
      file.bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    return file;
  }
  throw std::runtime_error("tests/core/parquet_rows.json has no " + name);
}

}  // namespace keel::test
