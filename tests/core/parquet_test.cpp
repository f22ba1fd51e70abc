// Rows of Parquet files: those of tools/oracle/parquet_rows.py, written by pyarrow, which also says what their rows are.
#include "core/parquet.h"

#include <nlohmann/json.hpp>

#include "core/file_kind.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "support/parquet_files.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using keel::core::DataError;
using keel::core::JsonlReader;
using keel::core::reads_parquet;
using keel::test::TemporaryFolder;
using keel::test::write_text;
using nlohmann::json;

namespace {

// Every test that reads begins with its file.
keel::test::ParquetFile file_named(const std::string& name) {
  if (!reads_parquet()) SKIP("this keel was built without Parquet");
  return keel::test::parquet_file(name);
}

json table_rows(const std::filesystem::path& path) {
  JsonlReader reader(path);
  json rows = json::array();
  for (json row; reader.next(row);) {
    rows.push_back(row);
    CHECK(reader.line() == std::ssize(rows));
  }
  return rows;
}

// What reading `bytes` throws, without the folder.
std::string complaint(const TemporaryFolder& folder, const std::string& bytes) {
  write_text(folder / "t.parquet", bytes);
  try {
    table_rows(folder / "t.parquet");
  } catch (const DataError& error) {
    return std::string(error.what()).substr(folder.path().string().size() + 1);
  }
  return "no error";
}

}  // namespace

TEST_CASE("parquet: the rows are those that pyarrow reads", "[core]") {
  const TemporaryFolder folder;
  const auto name = GENERATE("pairs", "pairs, plain pages", "pairs, snappy", "pairs, zstd, pages of version 2", "pairs, gzip", "dialogues",
                             "numbers", "dictionaries, large and fixed lists", "many rows in groups of 70", "no rows");
  INFO(name);
  const auto [bytes, rows] = file_named(name);
  write_text(folder / "train-00000-of-00001.parquet", bytes);
  CHECK(table_rows(folder / "train-00000-of-00001.parquet").dump() == rows.dump());  // as text: 1 is not 1.0
  write_text(folder / "by-content.jsonl", bytes);
  CHECK(table_rows(folder / "by-content.jsonl") == rows);
}

TEST_CASE("parquet: integers have the kinds that the reader of JSON gives them", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "t.parquet", file_named("numbers").bytes);
  const json rows = table_rows(folder / "t.parquet");
  CHECK(rows[0]["i8"].is_number_integer());
  CHECK(!rows[0]["i8"].is_number_unsigned());
  CHECK(rows[2]["i8"].is_number_unsigned());
  CHECK(rows[2]["u64"].get<uint64_t>() == UINT64_MAX);
}

TEST_CASE("parquet: what rows cannot hold is refused with the column and the row", "[core]") {
  struct Case {
    const char *name, *says;
  };
  const auto [name, says] = GENERATE(
      Case{"image", "t.parquet: column \"picture.bytes\" holds binary, which has no form in rows of JSON: leave the column out"},
      Case{"decimal", "t.parquet: column \"price\" holds decimal128(5, 2), which"},
      Case{"time", "t.parquet: column \"when\" holds timestamp[ms"}, Case{"map", "t.parquet: column \"scores\" holds map<string, int32"},
      Case{"one name twice", "t.parquet: two columns are named \"text\""},
      Case{"no columns", "t.parquet: this Parquet table has no columns"},
      Case{"infinite", "t.parquet:3: column \"score\": an infinite number has no form in JSON"},
      Case{"invalid UTF-8", "t.parquet:70: column \"text\": invalid UTF-8 at byte 4 of the text"},
      Case{"invalid UTF-8 in a list", "t.parquet:2: column \"tags\": invalid UTF-8 at byte 1 of the text"},
      Case{"a row of 80 MiB", "t.parquet:2: column \"parts\": the row needs more than 64 MiB"},
      Case{"texts of 2 GiB", "t.parquet:1: the next rows need more than 1 GiB of memory"},
      Case{"a list of 5 million nulls", "t.parquet:1: column \"ids\": the row needs more than 64 MiB"},
      Case{"checksum", "t.parquet:1: this Parquet table cannot be read (could not verify page integrity, CRC checksum"});
  INFO(name);
  const auto file = file_named(name);
  CHECK_THAT(complaint(TemporaryFolder(), file.bytes), StartsWith(says));
}

TEST_CASE("parquet: rows before a bad one are given out", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "t.parquet", file_named("invalid UTF-8").bytes);
  JsonlReader reader(folder / "t.parquet");
  json row;
  for (int i = 0; i < 69; ++i)
    CHECK(reader.next(row));
  CHECK(row == json{{"text", "good"}});
  CHECK_THROWS_AS(reader.next(row), DataError);
}

TEST_CASE("parquet: a file cut short anywhere is an error", "[core]") {
  const TemporaryFolder folder;
  const std::string whole = file_named("dialogues").bytes;
  for (size_t size = 4; size < whole.size(); ++size)
    CHECK_THAT(complaint(folder, whole.substr(0, size)), ContainsSubstring("the file is damaged or cut short: fetch or copy it again"));
  CHECK_THAT(complaint(folder, "PAR1 and other things, but not PAR1"), ContainsSubstring("t.parquet: this Parquet table cannot be read"));
}

TEST_CASE("parquet: a changed byte anywhere gives rows or an error that names the file", "[core]") {
  const TemporaryFolder folder;
  const auto name = GENERATE("pairs, zstd, pages of version 2", "dialogues", "numbers", "dictionaries, large and fixed lists");
  const std::string whole = file_named(name).bytes;
  size_t refused = 0;
  for (size_t i = 4; i < whole.size(); i += 2) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ (i % 4 == 0 ? 0xFF : 1 << (i / 4 % 8)));
    const std::string problem = complaint(folder, changed);
    refused += problem == "no error" ? 0 : 1;
    if (problem != "no error") CHECK_THAT(problem, StartsWith("t.parquet:"));
  }
  CHECK(refused > whole.size() / 20);
}

TEST_CASE("parquet: reading stops once a signal has come", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "t.parquet", file_named("pairs").bytes);
  JsonlReader reader(folder / "t.parquet");
  json row;
  CHECK(reader.next(row));
  keel::core::request_interrupt();
  CHECK_THROWS_AS(reader.next(row), keel::core::Interrupted);
  keel::core::clear_interrupt();
}

TEST_CASE("parquet: the beginning tells it; elsewhere than among data, and without Arrow, it is refused by name", "[core]") {
  const TemporaryFolder folder;
  write_text(folder / "t.parquet", "PAR1 and more");
  write_text(folder / "short", "PAR");
  CHECK(keel::core::is_parquet(folder / "t.parquet"));
  CHECK(!keel::core::is_parquet(folder / "short"));
  CHECK(!keel::core::is_parquet(folder.path()));
  CHECK(!keel::core::is_parquet(folder / "absent"));
  CHECK_THROWS_WITH(keel::core::read_json_file(folder / "t.parquet"), ContainsSubstring("t.parquet: is a Parquet table"));
  CHECK_THAT(keel::core::foreign_file("PARE"), ContainsSubstring("encrypted"));
  if (reads_parquet()) return;
  CHECK_THAT(complaint(folder, "PAR1\x15\x04 and more"), StartsWith("t.parquet: is a Parquet table") && ContainsSubstring("make parquet") &&
                                                             ContainsSubstring("to_json with lines=True"));
}
