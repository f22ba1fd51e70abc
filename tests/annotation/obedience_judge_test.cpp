#include "annotation/obedience_judge.h"

#include <nlohmann/json.hpp>

#include "core/log.h"
#include "http/answering_server.h"
#include "support/test_plain.h"

namespace keel::annotation {

using Catch::Matchers::ContainsSubstring;

TEST_CASE("obedience judge: the verdict is a boolean in the reply's object; any other reply has none", "[annotation]") {
  CHECK(parse_obedience_reply("{\"follows\": true}") == true);
  CHECK(parse_obedience_reply("It speaks French. {\"why\": \"French\", \"follows\": false}") == false);
  for (const char* text : {"", "true", "yes", "{\"follows\": \"true\"}", "{\"follows\": 1}", "{\"obeys\": true}", "{\"follows\": null}"})
    CHECK_FALSE(parse_obedience_reply(text));
}

TEST_CASE("obedience judge: it is shown instruction, question and answer; what it leaves open stays open", "[annotation]") {
  core::set_log_level("error");
  const test::TemporaryFolder folder;
  const test::Server server([](const std::string& body) {
    const std::string question = nlohmann::json::parse(body)["messages"][0]["content"];
    CHECK_THAT(question, ContainsSubstring("[instruction]\nAct as Napoleon.\n\n[user]\nHow are you?\n\n[answer]\n"));
    if (question.find("Emperor") != std::string::npos) return test::completion("{\"follows\": true}");
    if (question.find("a model") != std::string::npos) return test::completion("{\"follows\": false}");
    return test::completion("Hard to say.");
  });
  const auto answered = [](const char* answer) {
    return InstructedAnswer{.instruction = "Act as Napoleon.", .question = "How are you?", .answer = answer};
  };
  JudgeServer judge;
  static_cast<ChatServer&>(judge) = {.url = server.url(), .model = "gpt", .parallel = 1, .timeout_seconds = 1, .retries = 0};
  const auto verdicts =
      judge_obedience(judge, {answered("Your Emperor is well."), answered("I am a model."), answered("Fine.")}, folder / "w");
  CHECK(verdicts == std::vector<std::optional<bool>>{true, false, std::nullopt});
}

TEST_CASE("chat server: settings that nothing reads and wrong addresses are problems", "[annotation]") {
  JudgeServer judge;
  CHECK(problems_of(judge).empty());
  judge.url = "ftp://x";
  judge.parallel = 2;
  judge.budget = 9;
  const auto problems = problems_of(judge);
  REQUIRE(problems.size() == 4);
  CHECK(problems[0] == "url: nothing reads it without model");
  CHECK(problems[1] == "parallel: nothing reads it without model");
  CHECK(problems[2] == "budget: nothing reads it without model");
  CHECK_THAT(problems[3], ContainsSubstring("ftp://x"));
}

}  // namespace keel::annotation
