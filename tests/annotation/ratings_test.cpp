#include "annotation/ratings.h"

#include "core/error.h"
#include "core/files.h"
#include "core/jsonl.h"
#include "support/test_plain.h"

#include <nlohmann/json.hpp>

namespace keel::annotation {
namespace {

using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

RatingSet read(const std::vector<std::pair<std::string, std::string>>& files) {
  const test::TemporaryFolder folder;
  std::vector<std::filesystem::path> paths;
  for (const auto& [name, text] : files) {
    test::write_text(folder / name, text);
    paths.push_back(folder / name);
  }
  return read_ratings(paths);
}

// "id model category vector turns: person=value ..." of each answer
std::vector<std::string> lines_of(const RatingSet& set) {
  std::vector<std::string> lines;
  for (const auto& answer : set.answers) {
    lines.push_back(answer.id + " " + answer.model + " " + answer.category + " " + answer.vector + " " + std::to_string(answer.turns) +
                    ":");
    for (const auto& rating : answer.ratings)
      lines.back() += " " + rating.person + "=" + std::to_string(rating.value);
  }
  return lines;
}

}  // namespace

TEST_CASE("ratings: rows by rating, by answer and as a table say the same", "[annotation]") {
  const std::vector<std::string> expected = {"1 m hate logic 1: ann=5 bob=2", "2 m  other 3: ann=1 bob=4"};
  const auto by_rating = read({{"r.jsonl",
                                R"({"id":1,"model":"m","person":"ann","rating":5,"category":"hate","vector":"logic","turns":1,"note":"x"}
{"id":"2","model":"m","person":"ann","rating":1,"vector":"other","turns":3}
{"id":"1","model":"m","person":"bob","rating":2,"category":"hate"}
{"id":"2","model":"m","person":"bob","rating":4,"category":null}
)"}});
  CHECK(lines_of(by_rating) == expected);
  const auto by_answer = read({{"r.jsonl", R"({"id":1,"model":"m","ratings":{"ann":5,"bob":2},"category":"hate","vector":"logic","turns":1}
{"id":2,"model":"m","ratings":{"ann":1,"bob":4},"vector":"other","turns":3}
)"}});
  CHECK(lines_of(by_answer) == expected);
  const auto table = read({{"r.csv",
                            "id,model,person,rating,category,vector,turns,\"note, free\"\r\n1,m,ann,5,hate,logic,1,\"a\r\nb\"\r\n"
                            "1,m,bob,2,,,,\r\n2,m,ann,1,,other,3,\r\n2,m,bob,4,,,,\r\n"}});
  CHECK(lines_of(table) == expected);
}

TEST_CASE("ratings: several files and forms make one set; what a prompt is, one row says for all of its answers", "[annotation]") {
  const test::TemporaryFolder folder;
  core::JsonlWriter packed(folder / "b.jsonl.gz");
  packed.write({{"id", "p"}, {"model", "m1"}, {"person", "ann"}, {"rating", 3}});
  packed.write({{"id", "p"}, {"model", "m2"}, {"ratings", {5, nullptr, 5}}});
  packed.commit();
  test::write_text(folder / "a.jsonl", R"({"id":"p","model":"m1","ratings":{"bob":4,"cid":null}}
{"id":"q","model":"m1","person":null,"rating":null}
{"id":"r","model":"m1","ratings":null}
{"id":"s","model":"m1","person":null,"rating":null,"ratings":[1]}
)");
  test::write_text(folder / "c.jsonl",
                   R"({"id":"p","model":"m1","person":"cid","rating":2,"category":7,"messages":[{"role":"system","content":"s"},)"
                   R"({"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]})");
  const auto set = read_ratings({folder / "a.jsonl", folder / "b.jsonl.gz", folder / "c.jsonl"});
  CHECK(lines_of(set) ==
        std::vector<std::string>{"p m1 7  2: bob=4 ann=3 cid=2", "q m1   0:", "r m1   0:", "s m1   0: =1", "p m2 7  2: =5 =5"});
  CHECK(set.blank == 4);
}

TEST_CASE("ratings: a row that cannot be right is refused with its file, line and field", "[annotation]") {
  const std::string good = R"({"id":"p","model":"m","person":"ann","rating":5,"category":"hate","turns":2})"
                           "\n";
  const auto refused = [&](const std::string& row, const std::string& message) {
    INFO(row);
    CHECK_THROWS_WITH(read({{"r.jsonl", good + row}}), ContainsSubstring("r.jsonl:2: ") && ContainsSubstring(message));
    CHECK_THROWS_AS(read({{"r.jsonl", good + row}}), core::DataError);
  };
  for (const char* rating : {"0", "6", "-1", "4.5", "4.0", "\"4\"", "true", "18446744073709551615"})
    refused(std::string(R"({"id":"p","model":"m","person":"bob","rating":)") + rating + "}", "\"rating\" must be an integer from 1");
  refused(R"({"model":"m","person":"bob","rating":5})", "no \"id\"");
  refused(R"({"id":"","model":"m","person":"bob","rating":5})", "no \"id\"");
  refused(R"({"id":1.5,"model":"m","person":"bob","rating":5})", "\"id\" must be a string or an integer");
  refused(R"({"id":"p","person":"bob","rating":5})", "no \"model\"");
  refused(R"({"id":"p","model":"m","rating":5})", "no \"person\"");
  refused(R"({"id":"p","model":"m","person":"bob"})", "no \"rating\" and no \"ratings\"");
  refused(R"({"id":"p","model":"m","person":"ann","rating":5})", "\"ann\" rates the answer of \"m\" to id \"p\" a second time");
  refused(R"({"id":"p","model":"m","ratings":{"ann":5}})", "a second time");
  refused(R"({"id":"p","model":"m","ratings":[5]})", "has a row already, at ");
  refused(R"({"id":"q","model":"m","ratings":[5,6]})", "element 2 of \"ratings\" must be an integer from 1");
  refused(R"({"id":"q","model":"m","ratings":{"bob":6}})", "\"bob\" of \"ratings\" must be");
  refused(R"({"id":"q","model":"m","ratings":{"":5}})", "names a person \"\"");
  refused(R"({"id":"q","model":"m","ratings":5})", "\"ratings\" must be a list of ratings or an object");
  refused(R"({"id":"q","model":"m","ratings":[5],"rating":5})", "both \"rating\" and \"ratings\"");
  refused(R"({"id":"q","model":"m","person":"ann","ratings":[1,2,3]})", "both \"person\" and \"ratings\": one person gives one \"rating\"");
  refused(R"({"id":"q","model":"m","person":"ann","ratings":{"ann":1}})", "both \"person\" and \"ratings\"");
  refused(R"({"id":"q","model":"m","person":"  ","rating":5})", "\"person\" is blank");
  refused(R"({"id":"q","model":"m","ratings":{" ":5}})", "names a person \" \"");
  refused(R"({"id":"p","model":"n","person":"ann","rating":5,"category":"illicit"})",
          "\"category\" of id \"p\" is \"illicit\", but \"hate\" at ");
  refused(R"({"id":"p","model":"n","person":"ann","rating":5,"turns":1})", "\"turns\" of id \"p\" is \"1\", but \"2\" at ");
  refused(R"({"id":"q","model":"n","person":"ann","rating":5,"turns":0})", "\"turns\" must be the number of user turns");
  refused(R"({"id":"q","model":"n","person":"ann","rating":5,"turns":"two"})", "\"turns\" must be the number of user turns");
  refused(R"({"id":"q","model":"n","person":"ann","rating":5,"turns":2,"messages":[{"role":"user","content":"a"}]})",
          "\"turns\" is 2, but \"messages\" has 1 user turns");
  refused(R"({"id":"q","model":"n","person":"ann","rating":5,"messages":[]})", "at least one user turn");
  // A list after a list, and a person's row after one: whose ratings the list holds is unknown.
  const std::string list = R"({"id":"q","model":"m","ratings":[5,5,4]})"
                           "\n";
  for (const std::string& row : {list, std::string(R"({"id":"q","model":"m","person":"ann","rating":5})")})
    CHECK_THROWS_WITH(read({{"a.jsonl", list}, {"b.jsonl", row}}),
                      ContainsSubstring("b.jsonl:1: ") && ContainsSubstring("a.jsonl:1; a list"));
}

TEST_CASE("ratings: a person's name is one name, with blanks around it or not; with other capitals it is refused", "[annotation]") {
  const std::string table = "id,model,person,rating\n1,m,ann,5\n";
  CHECK(lines_of(read({{"r.csv", table + "2,m, ann ,1\n"}, {"s.jsonl", R"({"id":3,"model":"m","ratings":{"ann\t":4}})"}})) ==
        std::vector<std::string>{"1 m   0: ann=5", "2 m   0: ann=1", "3 m   0: ann=4"});
  CHECK_THROWS_WITH(read({{"r.csv", table + "1,m,ann ,1\n"}}),
                    ContainsSubstring("r.csv:3: \"ann\" rates the answer of \"m\" to id \"1\" a "));
  CHECK_THROWS_WITH(read({{"r.csv", table + "1,m,Ann,1\n"}}),
                    ContainsSubstring("r.csv:3: \"person\" is \"Ann\" here and \"ann\" at ") && ContainsSubstring("r.csv:2: write one"));
  CHECK_THROWS_WITH(read({{"r.csv", table}, {"s.jsonl", R"({"id":7,"model":"n","ratings":{"ANN":4}})"}}),
                    ContainsSubstring("s.jsonl:1: \"person\" is \"ANN\" here and \"ann\""));
}

TEST_CASE("ratings: a table without a column, or with a cell that is no rating, is refused with its file and line", "[annotation]") {
  const auto refused = [](const std::string& text, const std::string& message) {
    CHECK_THROWS_WITH(read({{"r.csv", text}}), ContainsSubstring(message));
  };
  refused("item,person,rating\n1,ann,5\n", "r.csv:1: there is no column \"id\", only \"item\", \"person\", \"rating\"");
  refused("id,model,person,rating\n1,m,ann,5\n2,m,ann,4.5\n", "r.csv:3: \"rating\" must be an integer from 1");
  refused("id,model,person,rating\n1,m,ann,five\n", "r.csv:2: \"rating\" must be");
  refused("id,model,person,rating\n1,m,,5\n", "r.csv:2: the row has no \"person\"");
  CHECK_THROWS_AS(read_ratings({"/nowhere/r.csv"}), core::UsageError);
}

}  // namespace keel::annotation
