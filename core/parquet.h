// Rows of Parquet files, when keel was built with Apache Arrow, which reads them. Arrow stands behind a library of keel's own,
// libkeel_parquet.so (core/parquet/), that is opened with the first such file: linked, its 60 MB would make every start 15 ms longer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/files.h"

namespace keel::core {

// Whether this keel was built with Arrow (tools/setup.sh parquet).
bool reads_parquet();

// A regular file that begins as Parquet does.
bool is_parquet(const std::filesystem::path& path);

// What libkeel_parquet.so gives: the rows of the file whose bytes were handed in, and which must stay. Both throw std::runtime_error with a
// text for people, and whatever Arrow throws.
class ParquetRows {
 public:
  virtual ~ParquetRows() = default;
  virtual bool next(nlohmann::json& row) = 0;
};
extern "C" using OpenParquet = ParquetRows * (std::string_view bytes);  // keel_open_parquet

// Each row as an object with a member for each column: texts, integers, numbers, true and false, lists, objects (structs); null for a
// missing value and for NaN. A few rows at a time are in memory. DataError with the number of the row, from 1, for a damaged or truncated
// file, a column of another type (refused before the first row), two columns of one name, invalid UTF-8, an infinite number, and rows of
// more than 64 MiB; UsageError for a missing file.
class ParquetReader {
 public:
  explicit ParquetReader(const std::filesystem::path& path);
  bool next(nlohmann::json& row);
  int64_t row() const { return row_; }  // number of the row last returned

 private:
  std::string path_;
  MappedFile file_;
  std::unique_ptr<ParquetRows> rows_;
  int64_t row_ = 0;
};

}  // namespace keel::core
