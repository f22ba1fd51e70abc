#include "core/json.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using keel::core::DataError;
using keel::core::dump_json;
using keel::core::parse_json;
using nlohmann::json;

namespace {

std::string json_problem(const std::string& text, int64_t first_line = 1, bool comments = false) {
  try {
    parse_json(text, "file", first_line, comments);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

std::string nested(size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

}  // namespace

TEST_CASE("json: values of every type are read", "[core]") {
  const json value =
      parse_json(R"({"a": [1, -2, 2.5, 18446744073709551615, true, false, null], "b": {"c": "\u00e9\ud83d\ude00\n"}, "": {}})", "file");
  CHECK(value["a"] == json::array({1, -2, 2.5, 18446744073709551615u, true, false, nullptr}));
  CHECK(value["b"]["c"] == "\xC3\xA9\xF0\x9F\x98\x80\n");
  CHECK(value[""] == json::object());
  CHECK(parse_json(" 7 ", "file") == 7);
  CHECK(parse_json("[]", "file") == json::array());
  CHECK(parse_json("[[1],[[2],3],{\"x\":[4]}]", "file").dump() == "[[1],[[2],3],{\"x\":[4]}]");
}

TEST_CASE("json: a duplicate key is refused with its line", "[core]") {
  CHECK_THAT(json_problem("{\n  \"a\": 1,\n  \"b\": 2,\n  \"a\": 3\n}"),
             StartsWith("file:4: ") && ContainsSubstring("duplicate key \"a\""));
  CHECK_THAT(json_problem("{\"a\": {\"x\": 1}, \"b\": {\"x\": 1, \"\\u0078\": 2}}"), ContainsSubstring("duplicate key \"x\""));
  CHECK(json_problem("{\"a\": {\"a\": 1}, \"b\": [{\"a\": 1}, {\"a\": 1}]}") == "no error");
}

TEST_CASE("json: 64 levels are read, 65 are refused, and a million do not overflow the stack", "[core]") {
  CHECK(json_problem(nested(64)) == "no error");
  CHECK_THAT(json_problem(nested(65)), ContainsSubstring("deeper than 64"));
  CHECK_THAT(json_problem(std::string(1'000'000, '[')), ContainsSubstring("deeper than 64"));
  std::string objects;
  for (int i = 0; i < 65; ++i)
    objects += "{\"a\":";
  CHECK_THAT(json_problem(objects), ContainsSubstring("deeper than 64"));
}

TEST_CASE("json: syntax errors name origin and line", "[core]") {
  CHECK_THAT(json_problem("{\"a\": 1\n\"b\": 2}"), StartsWith("file:2: invalid JSON at byte 3"));
  CHECK_THAT(json_problem("{\"a\": 1}", 40), ContainsSubstring("no error"));
  CHECK_THAT(json_problem("{\"a\" [1]}", 40), StartsWith("file:40: invalid JSON at byte 6 of the line"));
  CHECK_THAT(json_problem(""), StartsWith("file:1: invalid JSON"));
  CHECK_THAT(json_problem("{\"a\": [1, 2"), ContainsSubstring("end of input"));
  CHECK_THAT(json_problem("{\"a\": 1,}"), StartsWith("file:1: "));
  CHECK_THAT(json_problem("{'a': 1}"), StartsWith("file:1: "));
  CHECK_THAT(json_problem("[1e999]"), StartsWith("file:1: "));
  CHECK_THAT(json_problem("[NaN]"), StartsWith("file:1: "));
  CHECK_THAT(json_problem("[01]"), StartsWith("file:1: "));
  CHECK_THAT(json_problem("[\"a\tb\"]"), StartsWith("file:1: "));
}

TEST_CASE("json: trailing text is refused, a zero byte too", "[core]") {
  CHECK_THAT(json_problem("{} {}"), StartsWith("file:1: invalid JSON at byte 4"));
  CHECK_THAT(json_problem("{}\n]"), StartsWith("file:2: "));
  CHECK_THAT(json_problem(std::string("{}\0garbage", 10)), ContainsSubstring("zero byte"));
  CHECK(json_problem("{} \n ") == "no error");
}

TEST_CASE("json: invalid UTF-8 is refused and not repeated in the error text", "[core]") {
  for (const std::string bad : {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    const std::string problem = json_problem("{\"a\":\n\"caf" + bad + "\"}");
    CHECK(problem.starts_with("file:2: "));
    CHECK(problem.ends_with("invalid UTF-8"));
  }
  const std::string outside = json_problem("{\xFF}");
  CHECK(outside.find('\xFF') == std::string::npos);
  CHECK_THAT(json_problem("[\"\\ud800\"]"), StartsWith("file:1: "));  // half a surrogate pair
}

TEST_CASE("json: an error quotes only a little of a huge line", "[core]") {
  CHECK(json_problem("[\"" + std::string(1 << 20, 'x')).size() < 400);
}

TEST_CASE("json: comments are read where they are allowed only", "[core]") {
  const std::string text = "// a recipe\n{\"a\": 1, /* two\nlines */ \"b\": \"// no comment\"}";
  CHECK(parse_json(text, "file", 1, true) == json({{"a", 1}, {"b", "// no comment"}}));
  CHECK_THAT(json_problem(text), StartsWith("file:1: "));
  CHECK_THAT(json_problem("{ // one\n /* two\n three */ \"a\": 1, \"a\": 2}", 1, true), StartsWith("file:3: "));
}

TEST_CASE("json: a file may hold comments and must exist", "[core]") {
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "a.json", "{\"a\": 1 /* x */}");
  CHECK(keel::core::read_json_file(folder / "a.json")["a"] == 1);
  CHECK_THROWS_AS(keel::core::read_json_file(folder / "none.json"), keel::core::UsageError);
}

TEST_CASE("json: numbers are written in their shortest form", "[core]") {
  // Python's repr(), which is shortest too, but without the point of whole numbers.
  CHECK(dump_json(json::array({0.1, 1.0 / 3, 2.5, 1e22, 1.7976931348623157e308, 5e-324, 0.02, 1e-6, 123456.789})) ==
        "[0.1,0.3333333333333333,2.5,1e+22,1.7976931348623157e+308,5e-324,0.02,1e-06,123456.789]");
  CHECK(dump_json(json::array({1.0, -3.0, 0.0, -0.0})) == "[1,-3,0,-0.0]");
  CHECK(dump_json(json::array({INT64_MIN, UINT64_MAX})) == "[-9223372036854775808,18446744073709551615]");
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  CHECK(dump_json(json::array({nan, infinity, -infinity})) == "[null,null,null]");
}

TEST_CASE("json: what is written reads back the same, keys sorted", "[core]") {
  const json value = {
      {"b", {1.5, "\"\\\n\x01 \xC3\xA9"}}, {"a", {{"z", nullptr}, {"y", true}}}, {"\n", json::object()}, {"e", json::array()}};
  const std::string text = dump_json(value);
  CHECK(text == "{\"\\n\":{},\"a\":{\"y\":true,\"z\":null},\"b\":[1.5,\"\\\"\\\\\\n\\u0001 \xC3\xA9\"],\"e\":[]}");
  CHECK(parse_json(text, "file") == value);
  CHECK_THROWS_AS(dump_json("\xFF"), std::invalid_argument);
  CHECK_THROWS_AS(dump_json({{"\xFF", 1}}), std::invalid_argument);
}
