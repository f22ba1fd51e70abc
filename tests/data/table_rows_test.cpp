#include "data/table_rows.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/test_plain.h"

namespace keel::data {
namespace {

using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

const TableColumns kColumns{.needed = {"id"}, .integers = {"n", "m"}, .labels = {"safe"}};

struct Rows {
  std::vector<json> rows;
  std::vector<int64_t> lines;
};
Rows rows_of(const std::string& name, const std::string& text) {
  const test::TemporaryFolder folder;
  test::write_text(folder / name, text);
  Rows found;
  for_each_row(folder / name, kColumns, [&](const json& row, int64_t line) {
    if (row.contains("fail")) throw std::invalid_argument("\"fail\" is there");
    found.rows.push_back(row), found.lines.push_back(line);
  });
  return found;
}

}  // namespace

TEST_CASE("table rows: cells of named columns become integers and labels, all others stay text", "[data]") {
  const auto [rows, lines] = rows_of("t.csv", "id,n,safe,other\n1,-4,true,true\n\n2,4.5,TRUE,7\n3,,False,\n4,5 ,yes,\n");
  REQUIRE(rows.size() == 4);
  CHECK(rows[0] == json{{"id", "1"}, {"n", -4}, {"safe", true}, {"other", "true"}});
  CHECK(rows[1] == json{{"id", "2"}, {"n", "4.5"}, {"safe", true}, {"other", "7"}});
  CHECK(rows[2] == json{{"id", "3"}, {"n", nullptr}, {"safe", false}, {"other", nullptr}});
  CHECK(rows[3] == json{{"id", "4"}, {"n", "5 "}, {"safe", "yes"}, {"other", nullptr}});
  CHECK(lines == std::vector<int64_t>{2, 4, 5, 6});
}

TEST_CASE("table rows: JSON lines keep their own types, and need no column", "[data]") {
  const auto [rows, lines] = rows_of("t.jsonl", "{\"n\":\"4\",\"safe\":\"true\"}\n\n{\"id\":1,\"n\":4,\"safe\":true}\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0] == json{{"n", "4"}, {"safe", "true"}});
  CHECK(rows[1] == json{{"id", 1}, {"n", 4}, {"safe", true}});
  CHECK(lines == std::vector<int64_t>{1, 3});
}

TEST_CASE("table rows: a missing column and a row that is refused are errors with file and line", "[data]") {
  CHECK_THROWS_WITH(rows_of("t.csv", "n,safe\n1,true\n"), ContainsSubstring("t.csv:1: there is no column \"id\", only \"n\", \"safe\""));
  CHECK_THROWS_WITH(rows_of("t.csv", "id,fail\n\n1,2\n"), ContainsSubstring("t.csv:3: \"fail\" is there"));
  CHECK_THROWS_AS(rows_of("t.jsonl", "{\"id\":1}\n{\"fail\":1}\n"), core::DataError);
}

}  // namespace keel::data
