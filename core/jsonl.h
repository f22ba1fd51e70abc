// Lines and JSON lines in and out; .gz and .zst are read and written transparently. Rows are read from Parquet files, too.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/error.h"

namespace keel::core {

class ParquetReader;

// Text lines of a plain, .gz or .zst file (concatenated members too). A line may hold at most 64 MiB.
class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& path);  // UsageError when missing
  ~LineReader();
  bool next(std::string& line);           // false at the end; without the line break; DataError for a broken archive or invalid UTF-8
  int64_t line() const { return line_; }  // number of the line last returned, from 1
  const std::string& path() const { return path_; }
  DataError error(const std::string& text) const { return {path_, line_, text}; }  // "path:line: text"

 private:
  struct Source;
  std::unique_ptr<Source> source_;
  std::string path_;
  int64_t line_ = 0;
};

// One JSON object a line, blank lines are skipped; or one JSON list of objects; or the rows of a Parquet file (core/parquet.h), whose
// numbers count as lines. DataError for anything that is not an object (the error names a table and other well-known forms), Interrupted
// once a signal has come.
class JsonlReader {
 public:
  explicit JsonlReader(const std::filesystem::path& path);
  ~JsonlReader();
  bool next(nlohmann::json& row);
  int64_t line() const { return line_; }  // on which the row last returned begins, from 1
  const std::string& path() const { return lines_.path(); }
  DataError error(const std::string& text) const { return {path(), line_, text}; }

 private:
  bool next_of_list(std::string& element);

  LineReader lines_;
  std::unique_ptr<ParquetReader> table_;  // of a Parquet file
  std::string text_;
  int64_t line_ = 0;
  bool begins_ = true;  // no row is read yet
  bool list_ = false, list_ended_ = false, after_element_ = false;
  size_t at_ = 0;  // in text_, of a list
};

// Rows to a file that appears whole at commit(); an empty path or "-" writes to standard output at once.
class JsonlWriter {
 public:
  explicit JsonlWriter(const std::filesystem::path& path);
  ~JsonlWriter();
  void write(const nlohmann::json& row);
  void commit();

 private:
  struct Sink;
  std::unique_ptr<Sink> sink_;
};

// Writes row_of(item) for each item.
template <class Items, class RowOf = std::identity>
void write_jsonl(const std::filesystem::path& path, const Items& items, RowOf&& row_of = {}) {
  JsonlWriter writer(path);
  for (const auto& item : items)
    writer.write(row_of(item));
  writer.commit();
}

}  // namespace keel::core
