// keel eval safety: ratings of people and of a judge, and their figures.
#include <atomic>

#include "http/answering_server.h"
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
  CHECK(outcome.says("answers 7, ratings 17, blank 2"));
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
  test::write_text(folder / "named.jsonl", R"({"id":1,"model":"m","person":"ann","ratings":[1,2,3]})");
  test::write_text(folder / "capitals.csv", "id,model,person,rating\n1,m,ann,5\n1,m, Ann,1\n");
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
  refused({"--ratings", "named.jsonl"}, 3, "named.jsonl:1: the row has both \"person\" and \"ratings\"");
  refused({"--ratings", "capitals.csv"}, 3, "capitals.csv:3: \"person\" is \"Ann\" here and \"ann\" at capitals.csv:2");
  refused({"--ratings", "empty.jsonl"}, 3, "empty.jsonl: holds no rows");
  refused({"--ratings", "page.jsonl"}, 3, "is a web page");
  refused({"--ratings", "missing.jsonl"}, 2, "missing.jsonl");
  refused({"--ratings", "good.jsonl", "--weights", "radical"}, 2, "radical");
  refused({"--ratings", "good.jsonl", "--set", "x=1"}, 2, "x");
  const auto same = eval_safety(folder, {"--ratings", "good.jsonl", "--out", "good.jsonl"});
  CHECK(same.code == 2);
  CHECK(same.says("is a file that this command reads"));
}

TEST_CASE("keel eval safety: a judge's ratings appear whole; after a failure the same command asks for the rest alone", "[pipelines]") {
  const TemporaryFolder folder;
  test::write_text(folder / "answers.jsonl", R"({"id":1,"model":"m","prompt":"how?","response":"so","category":"hate"}
{"id":2,"model":"m","prompt":"why?","response":"thus"}
{"id":3,"model":"m","prompt":"who?","response":"I"}
)");
  std::atomic<bool> broken{true};
  const test::Server server([&](const std::string& body) {
    const std::string question = json::parse(body)["messages"][0]["content"];
    if (broken && question.find("why?") != std::string::npos) return test::http_reply(503, "busy");
    return test::completion(question.find("who?") != std::string::npos ? "no idea" : "{\"rating\": 2}");
  });
  const std::vector<std::string> command = {"--answers", "answers.jsonl", "--judge-url",     server.url(), "--judge-model",
                                            "gpt",       "--set",         "judge.retries=0", "--set",      "judge.parallel=1",
                                            "--out",     "ratings.jsonl"};
  const auto failed = eval_safety(folder, command);
  CHECK(failed.code == 74);
  CHECK(failed.says("busy; the same command goes on from here"));
  CHECK_FALSE(std::filesystem::exists(folder / "ratings.jsonl"));
  CHECK(server.requests() == 2);

  broken = false;
  std::vector<std::string> other = command;
  other[5] = "gpt2";
  const auto refused = eval_safety(folder, other);
  CHECK(refused.code == 2);
  CHECK(refused.says("ratings.jsonl.partial holds replies of another judge"));
  CHECK(server.requests() == 2);

  const auto done = eval_safety(folder, command);
  INFO(done.err);
  CHECK(done.code == 0);
  CHECK(done.says("answers 3, replies without a rating 1"));
  CHECK(server.requests() == 4);
  CHECK_FALSE(std::filesystem::exists(folder / "ratings.jsonl.partial"));
  CHECK(test::rows_in(folder / "ratings.jsonl") ==
        std::vector<json>{{{"id", "1"}, {"model", "m"}, {"person", "gpt"}, {"rating", 2}, {"category", "hate"}, {"turns", 1}},
                          {{"id", "2"}, {"model", "m"}, {"person", "gpt"}, {"rating", 2}, {"turns", 1}},
                          {{"id", "3"}, {"model", "m"}, {"person", "gpt"}, {"rating", nullptr}, {"turns", 1}}});
  const auto figures = eval_safety(folder, {"--ratings", "ratings.jsonl"});
  REQUIRE(figures.code == 0);
  CHECK(figures.rows()[0]["violations"] == 2);
  CHECK(figures.rows()[0]["unrated"] == 1);
  CHECK(figures.rows().back()["ac1"]["mean"].is_null());  // one rater
}

TEST_CASE("keel eval safety: a judge that rates nothing is an error; the same command asks again; some blanks are a warning",
          "[pipelines]") {
  const TemporaryFolder folder;
  test::write_text(folder / "answers.jsonl", R"({"id":1,"model":"m","prompt":"how?","response":"so"}
{"id":2,"model":"m","prompt":"why?","response":"thus"}
)");
  std::atomic<int> rated{0};  // how many of the two questions get a rating
  const test::Server server([&](const std::string& body) {
    const std::string question = json::parse(body)["messages"][0]["content"];
    const bool first = question.find("how?") != std::string::npos;
    return test::completion(rated > (first ? 0 : 1) ? "{\"rating\": 2}" : "I would say that it is rather safe.");
  });
  const std::vector<std::string> command = {"--answers", "answers.jsonl", "--judge-url",   server.url(),  "--judge-model",
                                            "gpt",       "--out",         "ratings.jsonl", "--log-level", "warn"};
  const auto none = eval_safety(folder, command);
  CHECK(none.code == 3);
  CHECK(none.says("gives no rating to any of 2 answers"));
  CHECK(none.says("the answer of \"m\" to id \"1\" has no verdict: the judge replies \"I would say that it is rather safe.\""));
  CHECK_FALSE(std::filesystem::exists(folder / "ratings.jsonl"));
  CHECK(std::filesystem::exists(folder / "ratings.jsonl.partial"));
  CHECK(server.requests() == 2);

  rated = 1;
  const auto one = eval_safety(folder, command);
  INFO(one.err);
  CHECK(one.code == 0);
  CHECK(one.says("answers 2, replies without a rating 1"));  // at the level of warnings
  CHECK(server.requests() == 4);
  CHECK_FALSE(std::filesystem::exists(folder / "ratings.jsonl.partial"));

  rated = 2;
  const auto all = eval_safety(folder, command);
  CHECK(all.code == 0);
  CHECK_FALSE(all.says("without a rating"));
}

TEST_CASE("keel eval safety: an option that nothing would read is refused", "[pipelines]") {
  const TemporaryFolder folder;
  test::write_text(folder / "answers.jsonl", R"({"id":1,"model":"m","prompt":"how?","response":"so"})");
  test::write_text(folder / "ratings.jsonl", R"({"id":1,"model":"m","ratings":[5,5,5]})");
  const std::vector<std::string> judge = {"--answers", "answers.jsonl", "--judge-url", "http://127.0.0.1:1"};
  const auto with = [](std::vector<std::string> arguments, const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  for (const auto& [arguments, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{}, "give --ratings FILE to measure, or --answers FILE"},
           {{"--ratings", "ratings.jsonl", "--answers", "answers.jsonl"}, "give --ratings FILE to measure, or --answers FILE"},
           {{"--ratings", "ratings.jsonl", "--judge-model", "gpt"}, "--judge-model: nothing reads it"},
           {{"--ratings", "ratings.jsonl", "--set", "judge.parallel=2"}, "judge.parallel"},
           {with(judge, {"--judge-model", "gpt"}), "--answers needs --out FILE"},
           {with(judge, {"--out", "out.jsonl"}), "--answers needs --judge-model NAME"},
           {with(judge, {"--out", "out.jsonl", "--judge-model", "gpt", "--weights", "linear"}), "--weights: nothing reads it"},
           {with(judge, {"--out", "answers.jsonl", "--judge-model", "gpt"}), "is a file that this command reads"}}) {
    const auto outcome = eval_safety(folder, arguments);
    INFO(outcome.err);
    CHECK(outcome.code == 2);
    CHECK(outcome.says(message));
  }
  CHECK_FALSE(std::filesystem::exists(folder / "out.jsonl"));
  CHECK_FALSE(std::filesystem::exists(folder / "out.jsonl.partial"));
}

}  // namespace keel::pipelines::cli
