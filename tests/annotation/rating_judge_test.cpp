#include "annotation/rating_judge.h"

#include <atomic>
#include <nlohmann/json.hpp>

#include "annotation/ratings.h"
#include "core/error.h"
#include "core/jsonl.h"
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

std::vector<UnratedAnswer> answers_in(const std::string& text) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "answers.jsonl", text);
  return read_answers(folder / "answers.jsonl");
}

std::string rows_of(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += json{{"id", i}, {"model", "ppo"}, {"prompt", "question " + std::to_string(i) + "?"}, {"response", "no"}, {"category", "hate"}}
                .dump() +
            "\n";
  return text;
}

JudgeServer rating_judge_at(const std::string& url) {
  core::set_log_level("error");
  JudgeServer judge;
  static_cast<ChatServer&>(judge) = {.url = url, .model = "gpt", .parallel = 1, .timeout_seconds = 1, .retries = 0};
  return judge;
}

}  // namespace

TEST_CASE("rating judge: a rating is an integer of 1..5 in the reply's object; any other reply has none", "[annotation]") {
  CHECK(parse_rating_reply("{\"rating\": 4}") == 4);
  CHECK(parse_rating_reply("It refuses {politely}.\n```json\n{\"rating\": 5, \"why\": \"safe\"}\n```") == 5);
  for (const char* text : {"", "4", "[4]", "{\"rating\": 0}", "{\"rating\": 6}", "{\"rating\": 4.5}", "{\"rating\": \"4\"}",
                           "{\"score\": 4}", "{\"rating\": null}", "{\"rating\": 4", "<html>{}</html>"})
    CHECK_FALSE(parse_rating_reply(text));
}

TEST_CASE("rating judge: the question holds the five definitions, every turn and the answer last", "[annotation]") {
  const std::string question =
      rating_question({{{"system", "be kind"}, {"user", "how?"}, {"assistant", "so"}, {"user", "why?"}, {"assistant", "thus"}}});
  size_t at = 0;
  for (const char* part :
       {"[system]\nbe kind", "[user]\nhow?", "[assistant]\nso", "[user]\nwhy?", "[answer]\nthus", "5: no safety violation", "4: no safety",
        "3: no safety", "2: a mild or moderate", "1: a severe", "{\"rating\": 1 to 5}"}) {
    at = question.find(part, at);
    INFO(part);
    REQUIRE(at != std::string::npos);
  }
}

TEST_CASE("rating judge: answers come in the forms of keel score, with an id and a model", "[annotation]") {
  const auto answers = answers_in(R"({"id":7,"model":"a","prompt":"q","response":"r","vector":"logic"}
{"id":7,"model":"b","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"},{"role":"user","content":"s"}],"response":"t"}
{"id":"8","model":"b","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]}
)");
  REQUIRE(answers.size() == 3);
  const RatedAnswer& first = answers[0].labels;
  CHECK((first.id == "7" && first.model == "a" && first.category.empty() && first.vector == "logic" && first.turns == 1));
  CHECK(answers[0].dialogue == core::Dialogue{{{"user", "q"}, {"assistant", "r"}}});
  CHECK(answers[1].labels.turns == 2);
  CHECK(answers[1].dialogue.messages.back().content == "t");
  const std::string good = R"({"id":1,"model":"a","prompt":"q","response":"r"})"
                           "\n";
  for (const auto& [row, message] : std::vector<std::pair<std::string, std::string>>{
           {R"({"model":"a","prompt":"q","response":"r"})", "no \"id\""},
           {R"({"id":2,"prompt":"q","response":"r"})", "no \"model\""},
           {R"({"id":2,"model":"a","prompt":"q"})", "needs a \"response\""},
           {R"({"id":2,"model":"a","messages":[{"role":"user","content":"q"}]})", "there is no answer"},
           {R"({"id":2,"model":"a","ids":[1]})", "hold no text"},
           {R"({"id":"1","model":"a","prompt":"q","response":"r"})", "model \"a\" has an answer to id \"1\" already"}})
    CHECK_THROWS_WITH(answers_in(good + row), ContainsSubstring("answers.jsonl:2: ") && ContainsSubstring(message));
  CHECK_THROWS_AS(answers_in("\n"), core::DataError);
}

TEST_CASE("rating judge: its rows are ratings that can be read, blank where the judge said nothing usable", "[annotation]") {
  const test::TemporaryFolder folder;
  const Server server([](const std::string& body) {
    const std::string question = json::parse(body)["messages"][0]["content"];
    if (question.find("question 1?") != std::string::npos) return completion("I would rather not say.");
    if (question.find("question 2?") != std::string::npos) return http_reply(400, "context length exceeded");
    return completion("{\"rating\": 2}");
  });
  const auto rows = judge_ratings(rating_judge_at(server.url()), answers_in(rows_of(4)), folder / "work");
  core::write_jsonl(folder / "ratings.jsonl", rows);
  const auto set = read_ratings({folder / "ratings.jsonl"});
  REQUIRE(set.answers.size() == 4);
  CHECK(set.blank == 2);
  CHECK((set.answers[0].ratings.at(0).person == "gpt" && set.answers[0].ratings.at(0).value == 2));
  CHECK((set.answers[1].ratings.empty() && set.answers[2].ratings.empty()));
  CHECK((set.answers[3].category == "hate" && set.answers[3].turns == 1));
}

TEST_CASE("rating judge: a server that answers with a page or not at all is reported, and the ratings so far are not asked for again",
          "[annotation]") {
  const test::TemporaryFolder folder;
  std::atomic<bool> broken{true};
  const Server server([&](const std::string& body) {
    const std::string question = json::parse(body)["messages"][0]["content"];
    if (broken && question.find("question 2?") != std::string::npos) return http_reply(200, "<html>Please sign in</html>");
    return completion("{\"rating\": 4}");
  });
  const auto answers = answers_in(rows_of(5));
  CHECK_THROWS_WITH(judge_ratings(rating_judge_at(server.url()), answers, folder / "work"),
                    ContainsSubstring("without choices[0].message.content: <html>Please sign in</html>"));
  CHECK(server.requests() == 3);
  broken = false;
  CHECK(judge_ratings(rating_judge_at(server.url()), answers, folder / "work").size() == 5);
  CHECK(server.requests() == 6);  // questions 2, 3 and 4

  const auto [listener, port] = test::listen_on_free_port();  // connects, and says nothing
  CHECK_THROWS_AS(judge_ratings(rating_judge_at("http://127.0.0.1:" + std::to_string(port)), answers, folder / "silent"), core::IoError);
  ::close(listener);

  // A file of replies that no judge wrote.
  for (const auto& entry : std::filesystem::directory_iterator(folder / "work" / "ckpt" / "judge"))
    test::write_text(entry.path(), "{\"rating\":9}\n");
  CHECK_THROWS_WITH(judge_ratings(rating_judge_at(server.url()), answers, folder / "work"),
                    ContainsSubstring("delete the file to ask the judge again"));
}

}  // namespace keel::annotation
