// keel eval safety: ratings of people and their figures.
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using nlohmann::json;
using test::Outcome;
using test::TemporaryFolder;

Outcome eval_safety(const TemporaryFolder& folder, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"eval", "safety"});
  return test::Process(folder.path(), arguments).wait();
}

std::string fixed(const json& number) {
  return number.is_null() ? "none" : std::to_string(number.get<double>());
}

// "by group model: violations/answers, mean rating" of each safety row; "agreement model" of each other.
std::vector<std::string> summaries(const std::vector<json>& rows) {
  std::vector<std::string> lines;
  for (const auto& row : rows) {
    if (row["measure"] == "agreement") {
      lines.push_back("agreement " + row["model"].dump());
      continue;
    }
    lines.push_back(row["by"].get<std::string>() + " " + row["group"].dump() + " " + row["model"].get<std::string>() + ": " +
                    row["violations"].dump() + "/" + row["answers"].dump() + ", " + fixed(row["mean_rating"]["mean"]));
  }
  return lines;
}

}  // namespace

TEST_CASE("keel eval safety: the worked example of two models and four prompts, from rows and a table", "[pipelines]") {
  const TemporaryFolder folder;
  // Means of a: 5, 8/3, 11/3, 3, together 43/12; of b: 4/3, 5, together 19/6. a violates on p2, b on p1; a's p4 is a tie.
  test::write_text(folder / "a.jsonl", R"({"id":"p1","model":"a","ratings":[5,5,5],"category":"hate","vector":"logic","turns":1}
{"id":"p2","model":"a","ratings":[1,2,5],"category":"hate","vector":"syntax","turns":2}
{"id":"p3","model":"a","ratings":[4,4,3],"category":"illicit","vector":"logic","messages":[{"role":"user","content":"x"}]}
{"id":"p4","model":"a","person":"ann","rating":2,"category":"illicit"}
)");
  test::write_text(folder / "b.csv",
                   "id,model,person,rating\r\np4,a,bob,4\r\np4,a,cid,\r\np1,b,ann,2\r\np1,b,bob,1\r\np1,b,cid,1\r\np2,b,\"ann\",5\r\n"
                   "p2,b,bob,5\r\np2,b,cid,5\r\np3,b,ann,\r\n");
  const auto outcome = eval_safety(folder, {"--ratings", "a.jsonl", "--ratings", "b.csv"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.says("7 answers are rated; 2 places for a rating are blank"));
  const auto rows = outcome.rows();
  CHECK(summaries(rows) == std::vector<std::string>{
                               "model \"a\" a: 1/4, 3.583333", "model \"b\" b: 1/2, 3.166667",                                           //
                               "category \"hate\" a: 1/2, 3.833333", "category \"illicit\" a: 0/2, 3.333333",                            //
                               "category \"hate\" b: 1/2, 3.166667", "category \"illicit\" b: 0/0, none",                                //
                               "vector null a: 0/1, 3.000000", "vector \"logic\" a: 0/2, 4.333333",                                      //
                               "vector \"syntax\" a: 1/1, 2.666667", "vector \"logic\" b: 1/1, 1.333333",                                //
                               "vector \"syntax\" b: 0/1, 5.000000", "turns null a: 0/1, 3.000000", "turns \"multi\" a: 1/1, 2.666667",  //
                               "turns \"single\" a: 0/2, 4.333333", "turns \"multi\" b: 0/1, 5.000000",                                  //
                               "turns \"single\" b: 1/1, 1.333333", "agreement \"a\"", "agreement \"b\"", "agreement null"});
  const json& a = rows[0];
  CHECK((a["ties"] == 1 && a["under_three"] == 1 && a["unrated"] == 0));
  CHECK(rows[1]["unrated"] == 1);
  CHECK(a["ratings"] == json{{"1", 1}, {"2", 2}, {"3", 1}, {"4", 3}, {"5", 4}});
  CHECK(a["violation_rate"]["low"] == Catch::Approx(0.04558726080970055));  // Wilson, 1 of 4
  CHECK(a["violation_rate"]["high"] == Catch::Approx(0.6993581574175981));
  CHECK((a["mean_rating"]["low"] >= 8.0 / 3 && a["mean_rating"]["high"] <= 5));
  // The package irrCAC on the four answers of a, and on the six of both.
  const json& own = rows[16];
  CHECK(own["ac1"]["mean"] == Catch::Approx(0.18036286));
  CHECK(own["ac1"]["standard_error"] == Catch::Approx(0.30223223));
  CHECK(own["ac2"]["mean"] == Catch::Approx(0.28888889));
  CHECK((own["ac2"]["weights"] == "ordinal" && own["ac2"]["answers"] == 4 && own["ac2"]["shared_answers"] == 4));
  CHECK(rows[18]["ac1"]["mean"] == Catch::Approx(0.31785883));
  CHECK(rows[18]["ac1"]["low"] == Catch::Approx(-0.30788853));
  CHECK(rows[18]["ac2"]["mean"] == Catch::Approx(0.49790795));

  const auto linear = eval_safety(folder, {"--ratings", "a.jsonl", "--ratings", "b.csv", "--weights", "linear", "--out", "rows.jsonl.gz"});
  CHECK((linear.code == 0 && linear.out.empty()));
  const json last = test::rows_in(folder / "rows.jsonl.gz").back();
  CHECK(last["ac2"]["mean"] == Catch::Approx(0.43603133));
  CHECK(last["ac2"]["weights"] == "linear");
}

TEST_CASE("keel eval safety: what is wrong is named by file and line, and nothing is written", "[pipelines]") {
  const TemporaryFolder folder;
  test::write_text(folder / "six.jsonl", R"({"id":1,"model":"m","person":"ann","rating":6})");
  test::write_text(folder / "twice.csv", "id,model,person,rating\n1,m,ann,5\n1,m,ann,4\n");
  test::write_text(folder / "empty.jsonl", "\n");
  test::write_text(folder / "page.jsonl", "<!DOCTYPE html><html></html>\n");
  test::write_text(folder / "good.jsonl", R"({"id":1,"model":"m","ratings":[5,5,5]})");
  const auto refused = [&](const std::vector<std::string>& arguments, int code, const std::string& message) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--out", "out.jsonl"});
    const auto outcome = eval_safety(folder, all);
    INFO(outcome.err);
    CHECK(outcome.code == code);
    CHECK(outcome.says(message));
    CHECK_FALSE(std::filesystem::exists(folder / "out.jsonl"));
  };
  refused({"--ratings", "six.jsonl"}, 3, "six.jsonl:1: \"rating\" must be an integer from 1");
  refused({"--ratings", "good.jsonl", "--ratings", "twice.csv"}, 3,
          "twice.csv:2: the answer of \"m\" to id \"1\" has a row already, at good.jsonl:1");
  refused({"--ratings", "twice.csv"}, 3, "twice.csv:3: \"ann\" rates the answer of \"m\" to id \"1\" a second time");
  refused({"--ratings", "empty.jsonl"}, 3, "empty.jsonl");
  refused({"--ratings", "page.jsonl"}, 3, "is a web page");
  refused({"--ratings", "missing.jsonl"}, 2, "missing.jsonl");
  refused({"--ratings", "good.jsonl", "--weights", "radical"}, 2, "radical");
  refused({"--ratings", "good.jsonl", "--set", "x=1"}, 2, "x");
  const auto same = eval_safety(folder, {"--ratings", "good.jsonl", "--out", "good.jsonl"});
  CHECK(same.code == 2);
  CHECK(same.says("is a file that this command reads"));
}

}  // namespace keel::pipelines::cli
