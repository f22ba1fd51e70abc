#include "data/csv.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/test_plain.h"

namespace keel::data {
namespace {

using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

struct Row {
  json cells;
  int64_t line;
};

std::vector<Row> rows_of(const std::string& text) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "table.csv", text);
  CsvReader reader(folder / "table.csv");
  std::vector<Row> rows;
  for (json row; reader.next(row);)
    rows.push_back({row, reader.line()});
  return rows;
}

}  // namespace

TEST_CASE("csv: quotes hold commas, line breaks and doubled quotes; CRLF, a byte order mark and blank lines change nothing", "[data]") {
  const auto rows = rows_of("\xEF\xBB\xBFid,\"note, long\",n\r\n1,\"a, \"\"b\"\"\r\nc\",2\r\n\r\n\"2\",,\"\"\r\n3, x y ,4");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].cells == json{{"id", "1"}, {"note, long", "a, \"b\"\nc"}, {"n", "2"}});
  CHECK(rows[0].line == 2);
  CHECK(rows[1].cells == json{{"id", "2"}, {"note, long", nullptr}, {"n", nullptr}});
  CHECK(rows[1].line == 5);
  CHECK(rows[2].cells == json{{"id", "3"}, {"note, long", " x y "}, {"n", "4"}});
  CHECK(rows_of("id\n").empty());
}

TEST_CASE("csv: what is no table is named by file and line", "[data]") {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "is empty"},
           {"a,,b\n", "table.csv:1: column 2 has no name"},
           {"a,b,a\n", "table.csv:1: two columns are named \"a\""},
           {"a,b\n1,2\n1,2,3\n", "table.csv:3: the row has 3 cells, but the first line names 2 columns"},
           {"a,b\n1\n", "table.csv:2: the row has 1 cells"},
           {"a,b\n1,\"2\n3,4\n", "table.csv:2: a quoted cell of this row is never closed"},
           {"a,b\n1,2\"\n", "table.csv:2: a quote out of place in cell 2"},
           {"a,b\n1,\"2\"x\n", "table.csv:2: a quote out of place in cell 2"}}) {
    INFO(text);
    CHECK_THROWS_WITH(rows_of(text), ContainsSubstring(message));
    CHECK_THROWS_AS(rows_of(text), core::DataError);
  }
}

}  // namespace keel::data
