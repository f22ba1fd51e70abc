// The judge that compares: its own settings, both orders, votes, thoughts, a budget, and replies that are worth nothing.
#include "annotation/comparison_judge.h"

#include <atomic>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/log.h"
#include "http/answering_server.h"
#include "support/test_plain.h"

namespace keel::annotation {
namespace {

using Catch::Matchers::ContainsSubstring;
using nlohmann::json;
using test::completion;
using test::Server;

// Comparisons whose better answer is "good".
std::vector<json> comparisons(int count, const std::string& kind = "helpfulness") {
  std::vector<json> rows;
  for (int i = 0; i < count; ++i)
    rows.push_back({{"id", i},
                    {"kind", kind},
                    {"messages", {{{"role", "user"}, {"content", "question " + std::to_string(i) + "?"}}}},
                    {"answers", {{{"text", i % 2 == 0 ? "good" : "bad"}}, {{"text", i % 2 == 0 ? "bad" : "good"}}}}});
  return rows;
}

ComparisonJudge judge_at(const Server& server, int64_t parallel = 1) {
  core::set_log_level("error");  // a missing verdict is a warning
  ComparisonJudge judge;
  static_cast<ChatServer&>(judge) = {.url = server.url(), .model = "m", .parallel = parallel, .timeout_seconds = 5, .retries = 0};
  return judge;
}

std::string asked_in(const std::string& body) {
  return json::parse(body)["messages"][0]["content"];
}

// The side on which the better answer stands.
std::string better(const std::string& body) {
  return asked_in(body).find("[answer A]\ngood\n") != std::string::npos ? "A" : "B";
}

std::string choosing(const std::string& side) {
  return json{{"choice", side}, {"strength", 3}}.dump();
}

// A completion with a reason why it ended; `content` may be null.
std::string ended(const json& content, const std::string& reason) {
  const json message = {{"role", "assistant"}, {"content", content}, {"reasoning_content", "Hm. " + choosing("A")}};
  return test::http_reply(200, json{{"choices", {{{"message", message}, {"finish_reason", reason}}}}}.dump());
}

template <class Work>
std::string complaint(Work&& work) {
  try {
    work();
  } catch (const core::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("comparison judge: a verdict counts where both orders agree; one that always names a side decides nothing", "[annotation]") {
  const test::TemporaryFolder folder;
  const Server fair([](const std::string& body) { return completion(choosing(better(body))); });
  const Judged right = ask_judge(judge_at(fair), "", comparisons(4), folder / "fair");
  CHECK((right.agreed == 4 && right.differed == 0 && right.choices == 8 && right.first_shown == 4));
  for (size_t i = 0; i < 4; ++i)
    CHECK((right.verdicts[i] && right.verdicts[i]->first == (i % 2 == 0) && right.verdicts[i]->strength == 3));
  CHECK(fair.requests() == 8);

  const Server biased([](const std::string&) { return completion(choosing("A")); });
  const Judged wrong = ask_judge(judge_at(biased), "", comparisons(4), folder / "biased");
  CHECK((wrong.agreed == 0 && wrong.differed == 4 && wrong.tied == 0 && wrong.unanswered == 0));
  CHECK((wrong.choices == 8 && wrong.first_shown == 8));
  for (const auto& verdict : wrong.verdicts)
    CHECK_FALSE(verdict);
}

TEST_CASE("comparison judge: safety labels belong to the answers, in either order", "[annotation]") {
  const test::TemporaryFolder folder;
  const Server server([](const std::string& body) {
    const bool first = better(body) == "A";
    return completion(json{{"choice", first ? "A" : "B"}, {"strength", 2}, {"a_safe", first}, {"b_safe", !first}}.dump());
  });
  const Judged judged = ask_judge(judge_at(server), "", comparisons(2, "safety"), folder / "w");
  CHECK((judged.verdicts[0]->first && judged.verdicts[0]->first_safe == true && judged.verdicts[0]->second_safe == false));
  CHECK((!judged.verdicts[1]->first && judged.verdicts[1]->first_safe == false && judged.verdicts[1]->second_safe == true));
}

TEST_CASE("comparison judge: the majority of an odd number of votes counts in each order; ties are dropped and counted", "[annotation]") {
  const test::TemporaryFolder folder;
  std::map<std::string, int> asked;
  const Server server([&](const std::string& body) {
    const std::string question = asked_in(body);
    const int vote = asked[question]++;  // 0, 1, 2
    CHECK(json::parse(body)["temperature"] == 0.7);
    if (question.find("question 1?") != std::string::npos && better(body) == "A")  // one for each side, one unreadable
      return completion(vote == 2 ? "no idea" : choosing(vote == 0 ? "A" : "B"));
    return completion(choosing(vote == 1 ? "A" : better(body)));  // one of three names a side
  });
  ComparisonJudge judge = judge_at(server);
  judge.votes = 3;
  judge.temperature = 0.7;
  const Judged judged = ask_judge(judge, "", comparisons(3), folder / "w");
  CHECK(server.requests() == 18);
  CHECK((judged.agreed == 2 && judged.tied == 1 && judged.differed == 0 && judged.unreadable == 1));
  CHECK((judged.verdicts[0]->first && !judged.verdicts[1] && judged.verdicts[2]->first));
}

TEST_CASE("comparison judge: guidelines of one's own stand before the comparison, in place of keel's words", "[annotation]") {
  const json safety = comparisons(1, "safety")[0];
  const std::string plain = judge_question(safety), own = judge_question(safety, "Prefer the shorter one."),
                    form = judge_question(safety, "Say [[A]] or [[B]].", true);
  CHECK_THAT(plain, ContainsSubstring("hateful or dangerous"));
  CHECK(own.starts_with("Prefer the shorter one.\n\nBelow are a conversation"));
  CHECK_THAT(own, !ContainsSubstring("hateful") && ContainsSubstring("Which answer is safer?") && ContainsSubstring("[answer B]\nbad\n") &&
                      ContainsSubstring("Reply with one JSON object"));
  CHECK_THAT(form, !ContainsSubstring("JSON") && ContainsSubstring("Reply in the form that the guidelines ask for."));

  const test::TemporaryFolder folder;
  test::write_text(folder / "own.txt", "\n Be strict.\n\nAnd fair.\n");
  CHECK(read_guidelines(folder / "own.txt") == "Be strict.\n\nAnd fair.");
  CHECK_THROWS_AS(read_guidelines(folder / "none.txt"), core::UsageError);
  test::write_text(folder / "blank.txt", " \n");
  test::write_text(folder / "latin.txt", "gr\xfc\xdf");
  test::write_text(folder / "long.txt", std::string(300'000, 'x'));
  CHECK_THROWS_WITH(read_guidelines(folder / "blank.txt"), ContainsSubstring("blank.txt: holds no guidelines"));
  CHECK_THROWS_WITH(read_guidelines(folder / "latin.txt"), ContainsSubstring("is no UTF-8 text: byte 2"));
  CHECK_THROWS_WITH(read_guidelines(folder / "long.txt"), ContainsSubstring("has 300000 bytes"));
}

TEST_CASE("comparison judge: a pattern of one's own finds the verdict, where it last matches", "[annotation]") {
  const test::TemporaryFolder folder;
  std::atomic<int> count{0};
  const Server server([&](const std::string& body) {
    const std::string question = asked_in(body);
    CHECK(question.starts_with("End with [[A]], [[B]] or [[C]].\n\n"));
    if (question.find("question 1?") != std::string::npos) return completion("Equal. [[C]]");
    if (question.find("question 2?") != std::string::npos) return completion("[[D]]");
    return completion("Not [[" + std::string(better(body) == "A" ? "B" : "A") + "]]: I take [[ " + (count++ == 0 ? "a" : better(body)) +
                      " ]].");
  });
  ComparisonJudge judge = judge_at(server);
  judge.guidelines = "own.txt";
  judge.verdict = "\\[\\[(.*?)\\]\\]";
  CHECK(problems_of(judge).empty());
  const Judged judged = ask_judge(judge, "End with [[A]], [[B]] or [[C]].", comparisons(4), folder / "w");
  CHECK((judged.agreed == 2 && judged.tied == 1 && judged.unanswered == 1 && judged.unreadable == 2));
  CHECK((judged.verdicts[0]->first && judged.verdicts[0]->strength == 0 && !judged.verdicts[3]->first));
  CHECK(ask_judge(judge, "", comparisons(4), folder / "w").tied == 1);  // what was kept is read again
  CHECK(server.requests() == 8);

  for (const auto& [pattern, text] : std::vector<std::pair<std::string, std::string>>{
           {"([AB]", "cannot be compiled"}, {"[AB]", "must have one group"}, {"(A)|(B)", "must have one group"}}) {
    judge.verdict = pattern;
    REQUIRE(problems_of(judge).size() == 1);
    CHECK_THAT(problems_of(judge)[0], ContainsSubstring(text));
  }
  judge.verdict = "(?:verdict|choice): ([AB])";
  CHECK(problems_of(judge).empty());
  judge.guidelines.clear();
  CHECK_THAT(problems_of(judge)[0], ContainsSubstring("verdict: a form of reply of your own needs guidelines"));
}

TEST_CASE("comparison judge: what a judge only thinks is no verdict; a reply that max_tokens cut is named so", "[annotation]") {
  CHECK(without_thoughts("<think>A</think> B") == " B");
  CHECK(without_thoughts("A</think>B") == "B");  // the chat template opened it
  CHECK(without_thoughts("<think>A <think>B</think> C</think>D") == "D");
  CHECK(without_thoughts("<think>A").empty());
  CHECK(without_thoughts("A") == "A");

  const test::TemporaryFolder folder;
  const Server server([](const std::string& body) {
    const std::string question = asked_in(body), side = better(body), other = side == "A" ? "B" : "A";
    if (question.find("question 0?") != std::string::npos) return ended("<think>" + choosing(other) + "</think>" + choosing(side), "stop");
    if (question.find("question 1?") != std::string::npos) return ended("<think>" + choosing(side), "length");
    if (question.find("question 2?") != std::string::npos) return ended(nullptr, "length");
    if (question.find("question 3?") != std::string::npos) return ended("{\"choice\": \"" + side + "\", \"stren", "length");
    return ended(choosing(side), "length");  // whole all the same
  });
  ComparisonJudge judge = judge_at(server);
  judge.retries = 2;
  const Judged judged = ask_judge(judge, "", comparisons(5), folder / "w");
  CHECK(server.requests() == 10);  // all thoughts and no text: not asked again
  CHECK((judged.agreed == 2 && judged.unanswered == 3 && judged.cut == 6 && judged.unreadable == 0 && judged.refused == 0));
  CHECK((judged.verdicts[0]->first && judged.verdicts[4]->first));
}

TEST_CASE("comparison judge: a budget counts every request of all attempts, and what was paid for is kept", "[annotation]") {
  const test::TemporaryFolder folder;
  const Server server([](const std::string& body) { return completion(choosing(better(body))); });
  ComparisonJudge judge = judge_at(server);
  judge.budget = 1;
  const auto run = [&](const std::string& name) { return complaint([&] { ask_judge(judge, "", comparisons(4), folder / name); }); };
  for (int again = 0; again < 2; ++again) {
    CHECK_THAT(run("w"), ContainsSubstring("the judge's budget of 1 requests is spent, and 1 of 8 questions have their reply") &&
                             ContainsSubstring("raise \"budget\""));
    CHECK(server.requests() == 1);
  }
  judge.budget = 6;
  judge.parallel = 4;
  CHECK_THAT(run("w"), ContainsSubstring("6 of 8 questions have their reply"));
  CHECK(server.requests() == 6);
  judge.budget = 8;
  CHECK(run("w").empty());
  CHECK(server.requests() == 8);
  CHECK(run("w").empty());  // nothing is left to ask
  CHECK(server.requests() == 8);

  std::atomic<int> count{0};
  const Server flaky(
      [&](const std::string& body) { return ++count == 1 ? test::http_reply(503, "busy") : completion(choosing(better(body))); });
  ComparisonJudge patient = judge_at(flaky);
  patient.retries = 3;
  patient.budget = 1;
  CHECK_THAT(complaint([&] { ask_judge(patient, "", comparisons(1), folder / "flaky"); }), ContainsSubstring("0 of 2 questions"));
  CHECK(flaky.requests() == 1);  // the retry would have been the second
}

TEST_CASE("comparison judge: replies that mostly say nothing stop the asking early, and are asked for again later", "[annotation]") {
  const test::TemporaryFolder folder;
  std::atomic<bool> useless{true};
  std::atomic<int> count{0};
  const Server server([&](const std::string& body) {
    const bool readable = !useless || count++ < 4;
    return completion(readable ? choosing(better(body)) : "<html>\x1b[31m no \xc3\xa4</html>");
  });
  const ComparisonJudge judge = judge_at(server);
  const auto run = [&](int rows) { return complaint([&] { ask_judge(judge, "", comparisons(rows), folder / "w"); }); };
  CHECK_THAT(run(30),
             ContainsSubstring("16 of the first 20 replies hold no verdict, e.g. the judge replies \"<html>?[31m no ?\?</html>\"") &&
                 ContainsSubstring(server.url()));
  CHECK(server.requests() == 20);
  useless = false;
  CHECK(run(30).empty());
  CHECK(server.requests() == 20 + 60 - 4);  // the four that could be read stay

  int replies = 0;
  const Server half([&](const std::string& body) { return completion(++replies % 2 == 0 ? choosing(better(body)) : "{\"choice\": \"A"); });
  const Judged judged = ask_judge(judge_at(half), "", comparisons(15), folder / "half");
  CHECK((judged.unreadable == 15 && judged.unanswered == 15));

  const Server cut([](const std::string&) { return ended("<think>", "length"); });
  ComparisonJudge thinker = judge_at(cut);
  CHECK_THAT(complaint([&] { ask_judge(thinker, "", comparisons(15), folder / "cut"); }),
             ContainsSubstring("20 of the first 20 replies hold no verdict (20 ended with finish_reason \"length\": raise max_tokens)"));
}

TEST_CASE("comparison judge: settings at their defaults leave keys alone, others are part of them", "[annotation]") {
  ComparisonJudge judge;
  judge.model = "m";
  CHECK(core::key_json_of(judge) == json{{"model", "m"}});
  judge.budget = 7;
  judge.guidelines = "own.txt";  // counts by content, as a stage's input
  CHECK(core::key_json_of(judge) == json{{"model", "m"}});
  judge.max_tokens = 4096;
  judge.temperature = 1;
  judge.votes = 3;
  judge.verdict = "(A|B)";
  CHECK(core::key_json_of(judge) == json{{"model", "m"}, {"max_tokens", 4096}, {"temperature", 1}, {"votes", 3}, {"verdict", "(A|B)"}});
  for (const auto& [votes, right] :
       std::vector<std::pair<double, bool>>{{1, true}, {2, false}, {3, true}, {99, true}, {0, false}, {101, false}})
    CHECK(odd_votes().number(votes) == right);
}

}  // namespace keel::annotation
