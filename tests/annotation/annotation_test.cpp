// Annotators outside the sandbox: verdicts of people and of a judge, and servers that do not answer.
#include "annotation/comparison_judge.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "http/answering_server.h"
#include "support/test_plain.h"

namespace keel::annotation {
namespace {

using Catch::Matchers::ContainsSubstring;
using nlohmann::json;
using test::completion;
using test::http_reply;
using test::Server;

json comparison(int id, const std::string& kind) {
  return {{"id", id},
          {"kind", kind},
          {"messages", {{{"role", "user"}, {"content", "where is the boat?"}}}},
          {"answers",
           {{{"text", "in the harbour"}, {"model", "rs1"}, {"temperature", 1}}, {{"text", "no"}, {"model", "sft"}, {"temperature", 1}}}}};
}

ComparisonJudge judge_at(const std::string& url, int64_t retries = 0) {
  core::set_log_level("error");  // a missing verdict is a warning
  ComparisonJudge judge;
  static_cast<ChatServer&>(judge) = {.url = url, .model = "m", .parallel = 2, .timeout_seconds = 2, .retries = retries};
  return judge;
}

std::vector<std::optional<Verdict>> ask(const ComparisonJudge& judge, const std::vector<json>& comparisons,
                                        const std::filesystem::path& folder) {
  return ask_judge(judge, "", comparisons, folder).verdicts;
}

std::string question_in(const std::string& body) {
  return json::parse(body)["messages"][0]["content"];
}

// A judge that finds "no" better, whichever side it stands on, and unsafe.
std::string prefers_no(const std::string& body, int strength = 2) {
  const bool first = question_in(body).find("[answer A]\nno\n") != std::string::npos;
  return completion(json{{"choice", first ? "A" : "B"}, {"strength", strength}, {"a_safe", !first}, {"b_safe", first}}.dump());
}

}  // namespace

TEST_CASE("judge: a verdict is found in its reply, whatever stands around it; anything else is none", "[pipelines]") {
  const auto verdict = parse_reply("I think:\n{\"choice\": \"B\", \"strength\": 3, \"a_safe\": false, \"b_safe\": true} so.", true);
  REQUIRE(verdict);
  CHECK((!verdict->first && verdict->strength == 3 && verdict->first_safe == false && verdict->second_safe == true));
  CHECK_FALSE(parse_reply("{\"choice\": \"A\", \"strength\": 1, \"a_safe\": true}", false)->first_safe);
  for (const char* text : {"", "A is better", "{", "}{", "{\"choice\": \"C\", \"strength\": 1}", "{\"choice\": \"A\"}",
                           "{\"choice\": \"A\", \"strength\": 5}", "{\"choice\": \"A\", \"strength\": \"3\"}", "[1]"})
    CHECK_FALSE(parse_reply(text, true));
  const std::string deep(200'000, '['), closed(200'000, ']');
  CHECK_FALSE(parse_reply("{\"choice\": " + deep + closed + "}", true));  // deep enough to exhaust the stack
  REQUIRE(parse_reply("{hm} A is {better}. {\"choice\": \"A\", \"strength\": 2}", true));
  CHECK(parse_reply("{hm} A is {better}. {\"choice\": \"A\", \"strength\": 2}", true)->strength == 2);
  REQUIRE(parse_reply("```json\n{\"choice\": \"A\", \"strength\": 2}\n```\nHope {that} helps", true));
}

TEST_CASE("judge: every comparison is asked once, and what is known already is not asked again", "[pipelines]") {
  std::vector<json> comparisons;
  for (int i = 0; i < 11; ++i)
    comparisons.push_back(comparison(i, i % 2 == 0 ? "safety" : "helpfulness"));
  const test::TemporaryFolder folder;
  std::atomic<bool> well_formed{true};
  const Server server([&](const std::string& body) {
    const json request = json::parse(body);
    const std::string question = request["messages"][0]["content"];
    well_formed = well_formed && request["model"] == "m" && request["temperature"] == 0 && request["max_tokens"] == 200 &&
                  question.find("where is the boat?") != std::string::npos;
    return question.find("safer") != std::string::npos ? prefers_no(body, 4) : completion("no idea");
  });
  const auto verdicts = ask(judge_at(server.url() + "/"), comparisons, folder / "work");
  CHECK(well_formed);
  CHECK(server.requests() == 22);  // in both orders
  REQUIRE(verdicts.size() == 11);
  for (size_t i = 0; i < verdicts.size(); ++i)
    CHECK(verdicts[i].has_value() == (i % 2 == 0));
  CHECK((!verdicts[0]->first && verdicts[0]->strength == 4 && verdicts[0]->first_safe == true && verdicts[0]->second_safe == false));
  CHECK(ask(judge_at(server.url()), comparisons, folder / "work").size() == 11);
  CHECK(server.requests() == 22);
}

TEST_CASE("judge: a server that fails is asked again, then the stage stops with what it has", "[pipelines]") {
  const test::TemporaryFolder folder;
  std::atomic<int> count{0};
  const Server flaky([&](const std::string& body) { return ++count % 2 == 1 ? http_reply(503, "busy") : prefers_no(body); });
  ComparisonJudge one = judge_at(flaky.url(), 2);
  one.parallel = 1;
  const auto verdicts = ask(one, {comparison(0, "helpfulness"), comparison(1, "helpfulness")}, folder / "flaky");
  CHECK((verdicts[0] && verdicts[1]));
  CHECK(flaky.requests() == 8);

  const Server broken([](const std::string&) { return http_reply(200, "{\"choices\":[]}"); });
  CHECK_THROWS_WITH(ask(judge_at(broken.url(), 1), {comparison(0, "safety")}, folder / "broken"),
                    ContainsSubstring("after 2 attempts") && ContainsSubstring("without choices[0].message.content"));
  const Server cut([](const std::string&) { return std::string("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"); });
  CHECK_THROWS_AS(ask(judge_at(cut.url()), {comparison(0, "safety")}, folder / "cut"), core::IoError);
  CHECK_THROWS_AS(ask(judge_at("http://127.0.0.1:1"), {comparison(0, "safety")}, folder / "none"), core::IoError);
}

TEST_CASE("chat client: a server that is asked too often is asked again when its Retry-After says", "[pipelines]") {
  const auto late = [](const std::string& retry_after) {
    std::atomic<int> replies{0};
    const Server server([&](const std::string&) {
      if (replies++ > 0) return completion("yes");
      return "HTTP/1.1 429 X\r\nRetry-After: " + retry_after + "\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    });
    const auto begin = std::chrono::steady_clock::now();
    CHECK(ask_chat({.url = server.url(), .model = "gpt", .retries = 1}, {{"messages", json::array()}}).text == "yes");
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  CHECK(late("2") >= 2);
  for (const char* not_a_number_of_seconds : {"soon", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999"})
    late(not_a_number_of_seconds);
}

TEST_CASE("judge: a question that the server refuses has no verdict; a wrong key or address stops the stage at once", "[pipelines]") {
  const test::TemporaryFolder folder;
  const Server picky([](const std::string& body) {
    return question_in(body).find("too long") != std::string::npos ? http_reply(400, "context length exceeded") : prefers_no(body);
  });
  std::vector<json> comparisons = {comparison(0, "helpfulness"), comparison(1, "helpfulness")};
  comparisons[0]["messages"][0]["content"] = "too long";
  const ComparisonJudge patient = judge_at(picky.url() + "/v1/", 3);
  const auto verdicts = ask(patient, comparisons, folder / "picky");
  CHECK((!verdicts[0] && verdicts[1]));
  CHECK(picky.requests() == 4);

  const Server closed([](const std::string&) { return http_reply(401, "no such key"); });
  CHECK_THROWS_WITH(ask(judge_at(closed.url(), 3), {comparison(0, "safety")}, folder / "closed"),
                    ContainsSubstring("status 401: no such key; check its address"));
  CHECK(closed.requests() <= 2);  // two at a time
}

TEST_CASE("judge: a reply whose message has no text is asked for again, then counts as no verdict and stops nothing", "[pipelines]") {
  const test::TemporaryFolder folder;
  const std::string null_reply = http_reply(200, R"({"choices":[{"message":{"content":null},"finish_reason":"content_filter"}]})");
  const Server server(
      [&](const std::string& body) { return question_in(body).find("a filter") != std::string::npos ? null_reply : prefers_no(body); });
  std::vector<json> comparisons = {comparison(0, "helpfulness"), comparison(1, "helpfulness")};
  comparisons[0]["messages"][0]["content"] = "a filter";
  const ComparisonJudge judge = judge_at(server.url(), 1);
  for (int again = 0; again < 2; ++again) {
    const auto verdicts = ask(judge, comparisons, folder / "work");
    CHECK((!verdicts[0] && verdicts[1]));
  }
  CHECK(server.requests() == 2 * (2 + 1));  // one retry; the second command asks nothing

  std::atomic<int> count = 0;  // the last reply decides
  const Server busy([&](const std::string&) { return ++count == 1 ? null_reply : http_reply(503, "busy"); });
  CHECK_THROWS_AS(ask(judge_at(busy.url(), 1), {comparison(0, "safety")}, folder / "busy"), core::IoError);
}

TEST_CASE("judge: when one request fails for good, what came before it is kept and only the rest is asked for", "[pipelines]") {
  const test::TemporaryFolder folder;
  std::vector<json> comparisons;
  for (int i = 0; i < 6; ++i) {
    comparisons.push_back(comparison(i, "helpfulness"));
    comparisons.back()["messages"][0]["content"] = "question " + std::to_string(i);
  }
  std::atomic<bool> broken{true};
  std::vector<std::string> asked;  // by the server's only thread
  const Server server([&](const std::string& body) {
    const std::string question = question_in(body);
    const bool exchanged = question.find("[answer A]\nno\n") != std::string::npos;
    asked.push_back(question.substr(question.find("question ") + 9, 1) + (exchanged ? "x" : ""));
    if (broken && asked.back() == "2") return http_reply(503, "busy");
    return asked.back().starts_with("1") ? completion("no idea") : prefers_no(body);
  });
  ComparisonJudge config = judge_at(server.url());
  config.parallel = 1;
  for (const auto& expected : {std::vector<std::string>{"0", "0x", "1", "1x", "2"}, {"2"}}) {
    CHECK_THROWS_AS(ask(config, comparisons, folder / "work"), core::IoError);
    CHECK(asked == expected);
    asked.clear();
  }
  broken = false;
  config.parallel = 2;  // another number of requests at a time reuses the verdicts so far
  const auto verdicts = ask(config, comparisons, folder / "work");
  std::sort(asked.begin(), asked.end());
  CHECK(asked == std::vector<std::string>{"2", "2x", "3", "3x", "4", "4x", "5", "5x"});
  REQUIRE(verdicts.size() == 6);
  for (size_t i = 0; i < 6; ++i)
    CHECK(verdicts[i].has_value() == (i != 1));
  CHECK(ask(config, comparisons, folder / "work").size() == 6);
  CHECK(asked.size() == 8);
}

TEST_CASE("people: rows of the comparison file, blinded or whole, with their choice; impossible ones are named by file and line",
          "[pipelines]") {
  const std::vector<json> asked = {comparison(0, "helpfulness"), comparison(1, "safety"), comparison(2, "safety")};
  const test::TemporaryFolder folder;
  const auto filled = [&](size_t row, json extra) {
    json object = asked[row];
    object.update(extra);
    return object.dump() + "\n";
  };
  const auto read = [&](const std::string& text) {
    test::write_text(folder / "filled.jsonl", text);
    return read_verdicts(folder / "filled.jsonl", asked);
  };
  const auto said = read(filled(2, {{"choice", "b"}, {"strength", 2}, {"a_safe", nullptr}, {"b_safe", true}}) +
                         filled(0, {{"choice", "a"}, {"strength", 4}, {"a_safe", nullptr}}) + filled(1, {{"choice", nullptr}}));
  REQUIRE((said[0].verdicts.size() == 1 && said[1].verdicts.empty() && said[2].verdicts.size() == 1));
  CHECK((said[0].verdicts[0].first && said[0].verdicts[0].strength == 4 && said[0].persons == std::vector<std::string>{""}));
  const Verdict& second = said[2].verdicts[0];
  CHECK((!second.first && !second.first_safe && second.second_safe == true));

  json shown = blinded(asked[1]);
  CHECK(shown == json{{"id", 1},
                      {"kind", "safety"},
                      {"messages", asked[1]["messages"]},
                      {"answers", {{{"text", "in the harbour"}}, {{"text", "no"}}}}});
  shown.update({{"choice", "b"}, {"strength", 1}});
  CHECK(read(shown.dump() + "\n" + filled(0, {{"choice", "a"}, {"strength", 4}}))[1].verdicts.size() == 1);
  std::swap(shown["answers"][0], shown["answers"][1]);
  CHECK_THROWS_WITH(read(shown.dump() + "\n"), ContainsSubstring("\"answers\" are not those of comparison 1"));

  const std::string good = filled(2, {{"choice", "a"}, {"strength", 4}});
  for (const auto& [row, text] : std::vector<std::pair<std::string, std::string>>{
           {filled(0, {{"choice", "c"}, {"strength", 4}}), "\"choice\" must be"},
           {good, "has a verdict already"},
           {filled(0, {{"choice", "a"}, {"strength", 5}}), "\"strength\" must be 1"},
           {filled(0, {{"choice", "a"}}), "\"strength\" is missing"},
           {filled(0, {{"choice", "a"}, {"strength", nullptr}}), "\"strength\" is missing"},
           {filled(0, {{"choice", "a"}, {"strength", 1}, {"a_safe", true}}), "helpfulness pairs carry no safety labels"},
           {filled(1, {{"choice", "a"}, {"strength", 1}, {"a_safe", 1}}), "\"a_safe\" must be true or false"},
           {filled(0, {{"choice", "a"}, {"strength", 1}, {"id", 3}}), "\"id\" must be one of"},
           {filled(0, {{"choice", "a"}, {"strength", 1}, {"id", 1}, {"answers", json::array()}}), "are not those of comparison 1"}})
    CHECK_THROWS_WITH(read(good + row), ContainsSubstring("filled.jsonl:2: ") && ContainsSubstring(text));
}

TEST_CASE("people: several of them judge a comparison, each once; whose a row is must be told", "[pipelines]") {
  const std::vector<json> asked = {comparison(0, "helpfulness"), comparison(1, "safety")};
  const test::TemporaryFolder folder;
  const auto row = [&](size_t id, const json& person, const std::string& choice) {
    json object = blinded(asked[id]);
    object.update({{"choice", choice}, {"strength", 2}, {"person", person}});
    return object.dump() + "\n";
  };
  const auto read = [&](const std::string& text) {
    test::write_text(folder / "filled.jsonl", text);
    return read_verdicts(folder / "filled.jsonl", asked);
  };
  const auto said = read(row(0, "ann", "a") + row(1, 7, "b") + row(0, " bob ", "b") + row(0, 7, "a"));
  CHECK(said[0].persons == std::vector<std::string>{"ann", "bob", "7"});
  CHECK((said[0].verdicts[0].first && !said[0].verdicts[1].first && said[0].verdicts[2].first));
  CHECK(said[1].persons == std::vector<std::string>{"7"});
  const std::string good = row(0, "ann", "a");
  for (const auto& [more, text] : std::vector<std::pair<std::string, std::string>>{
           {row(0, "ann", "b"), "\"ann\" has judged comparison 0 already"},
           {row(0, "ann ", "a"), "\"ann\" has judged comparison 0 already"},
           {row(0, "", "a"), "has a verdict already, further above; where several people judge"},
           {row(1, "Ann", "a"), "\"person\" is \"Ann\" here and \"ann\" at"},
           {row(0, json::array(), "a"), "\"person\" must be a string or an integer"}})
    CHECK_THROWS_WITH(read(good + more), ContainsSubstring("filled.jsonl:2: ") && ContainsSubstring(text));
  CHECK_THROWS_WITH(read(row(0, "", "a") + good), ContainsSubstring("filled.jsonl:2: comparison 0 has a verdict already"));
}

TEST_CASE("majority: more than half of the verdicts choose, their strengths are averaged, labels counted", "[pipelines]") {
  const auto verdict = [](bool first, int strength, std::optional<bool> first_safe = {}, std::optional<bool> second_safe = {}) {
    return Verdict{.first = first, .strength = strength, .first_safe = first_safe, .second_safe = second_safe};
  };
  CHECK_FALSE(majority({}));
  CHECK_FALSE(majority({verdict(true, 4), verdict(false, 1)}));
  CHECK_FALSE(majority({verdict(true, 4)}, 1));  // one for A, one for neither
  CHECK(majority({verdict(true, 4), verdict(true, 4)}, 1)->first);
  const auto found = majority({verdict(false, 2, true, false), verdict(true, 4, true, true), verdict(false, 3, false, {})});
  REQUIRE(found);
  CHECK((!found->first && found->strength == 3));  // of 2 and 3, rounded up
  CHECK(found->first_safe == true);                // two of three
  CHECK_FALSE(found->second_safe);                 // one of two
  CHECK(majority({verdict(false, 1), verdict(false, 1), verdict(false, 2)})->strength == 1);
  CHECK(majority({verdict(false, 0), verdict(false, 0)})->strength == 0);
}

}  // namespace keel::annotation
