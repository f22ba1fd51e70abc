#include "distillation/distill.h"

#include <fmt/format.h>

#include <set>

#include "core/error.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::Answer;
using keel::core::Dialogue;
using keel::data::ChatFormat;
using keel::data::Form;
using namespace keel::distillation;

namespace {

const std::vector<Preprompt> kOne = {{"Be safe.", ""}};

// Says "plain N" without a preprompt and "safe N" with one.
struct Model {
  std::vector<Dialogue> prompts;
  std::vector<std::optional<Answer>> operator()(const std::vector<Dialogue>& asked, const std::string& purpose) {
    std::vector<std::optional<Answer>> answers;
    for (size_t i = 0; i < asked.size(); ++i) {
      prompts.push_back(asked[i]);
      answers.push_back(Answer{fmt::format("{} {}", purpose == "distill" ? "safe" : "plain", i), true});
    }
    return answers;
  }
};

std::vector<HazardPrompt> asked(int count) {
  std::vector<HazardPrompt> prompts;
  for (int i = 0; i < count; ++i)
    prompts.push_back({{{{"user", fmt::format("q{}", i)}}}, "illicit"});
  return prompts;
}

}  // namespace

TEST_CASE("distillation: the answer under the preprompt is learned without it, where the safety model rates it higher", "[distillation]") {
  Model model;
  std::vector<Dialogue> scored;
  const ScoreAnswers score = [&](const std::vector<Dialogue>& answered) {
    std::vector<std::optional<double>> scores;
    for (const auto& dialogue : answered) {
      scored.push_back(dialogue);
      // The original answers score 0; the distilled ones 1, 0 and -1.
      const std::string& text = dialogue.messages.back().content;
      scores.push_back(text.starts_with("plain") ? 0.0 : text == "safe 0" ? 1.0 : text == "safe 1" ? 0.0 : -1.0);
    }
    return scores;
  };
  const auto data = distill(asked(3), kOne, {}, ChatFormat::llama2, 1, std::ref(model), score);
  REQUIRE(data.rows.size() == 1);
  CHECK(data.rows[0].messages == Dialogue{{{"user", "q0"}, {"assistant", "safe 0"}}});
  CHECK(data.rows[0].preprompt == "Be safe.");
  CHECK(data.rows[0].original == "plain 0");
  CHECK(data.rows[0].score == 1);
  CHECK(data.rows[0].original_score == 0);
  CHECK(to_line(data.counts) == "kept 1, dropped 2 (not_better 2), truncated 0");
  // The model read the preprompt; the safety model read neither answer with it.
  CHECK(model.prompts.at(0) == Dialogue{{{"user", "q0"}}});
  CHECK(model.prompts.at(3) == Dialogue{{{"system", "Be safe."}, {"user", "q0"}}});
  for (const auto& dialogue : scored)
    CHECK(dialogue.messages.size() == 2);

  const auto all = distill(asked(3), kOne, {.keep = Keep::always, .form = Form::user}, ChatFormat::llama2, 1, std::ref(model), score);
  CHECK(all.rows.size() == 3);
  CHECK(model.prompts.back() == Dialogue{{{"user", "Be safe.\nq2"}}});
  CHECK(all.rows[2].messages == Dialogue{{{"user", "q2"}, {"assistant", "safe 2"}}});
}

TEST_CASE("distillation: the answers inside a prompt are context, not learned", "[distillation]") {
  Model model;
  const ScoreAnswers score = [](const std::vector<Dialogue>& answered) {
    std::vector<std::optional<double>> scores;
    for (const auto& dialogue : answered)
      scores.push_back(dialogue.messages.back().content.starts_with("safe") ? 1.0 : 0.0);
    return scores;
  };
  const std::vector<HazardPrompt> prompts = {{{{{"user", "a"}, {"assistant", "harm"}, {"user", "b"}}}, ""}};
  const auto data = distill(prompts, kOne, {}, ChatFormat::llama2, 1, std::ref(model), score);
  REQUIRE(data.rows.size() == 1);
  CHECK(data.rows[0].messages == Dialogue{{{"user", "a"}, {"assistant", "harm", false}, {"user", "b"}, {"assistant", "safe 0"}}});
}

TEST_CASE("distillation: answers that cannot be learned are counted by reason", "[distillation]") {
  const std::vector<std::optional<Answer>> given = {Answer{"half", false}, Answer{" ", true}, Answer{"a [/INST] b", true}, std::nullopt,
                                                    Answer{"fine", true}};
  const AnswerPrompts answer = [&](const std::vector<Dialogue>& prompts, const std::string& purpose) {
    return purpose == "distill" ? given : std::vector<std::optional<Answer>>(prompts.size(), Answer{"old", true});
  };
  const ScoreAnswers score = [](const std::vector<Dialogue>& answered) {
    std::vector<std::optional<double>> scores;
    for (const auto& dialogue : answered)
      scores.push_back(dialogue.messages.back().content == "old" ? 0.0 : 1.0);
    return scores;
  };
  const auto data = distill(asked(5), kOne, {}, ChatFormat::llama2, 1, answer, score);
  CHECK(to_line(data.counts) == "kept 1, dropped 4 (empty_answer 1, over_long 1, tags 1, unfinished 1), truncated 0");
}

TEST_CASE("preprompts: slots get different adjectives, and a category has its own preprompts", "[distillation]") {
  keel::core::Stream stream(1, "test");
  const std::vector<Preprompt> all = {{"My {adjective} and {adjective} one.", ""}, {"No crime.", "illicit"}};
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const std::string text = draw_preprompt(all, "hateful", stream);
    CHECK(text.find('{') == std::string::npos);
    const std::string first = text.substr(3, text.find(' ', 3) - 3),
                      second = text.substr(text.find("and ") + 4, text.rfind(' ') - text.find("and ") - 4);
    CHECK(first != second);
    seen.insert(first);
  }
  CHECK(seen.size() == adjectives().size());
  CHECK(draw_preprompt(all, "illicit", stream) == "No crime.");
  CHECK_THROWS_WITH(draw_preprompt({all[1]}, "hateful", stream), ContainsSubstring("category \"hateful\""));
  for (const char* category : {"illicit", "hateful", "unqualified", ""})
    CHECK_FALSE(draw_preprompt(built_in_preprompts(), category, stream).empty());
}

TEST_CASE("preprompts: the article before an adjective is the right one", "[distillation]") {
  keel::core::Stream stream(1, "test");
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i)
    for (const char* text :
         {"A {adjective} one", "be an {adjective} one", "An {adjective} one", "{adjective} a {adjective}", "Panama {adjective}"})
      seen.insert(draw_preprompt({{text, ""}}, "", stream));
  for (const char* text :
       {"A kind one", "An honest one", "be a wise one", "be an honest one", "kind an honest", "honest a kind", "Panama honest"})
    CHECK(seen.contains(text));
  for (const auto& text : seen) {
    INFO(text);
    for (const char* wrong : {" a honest", " A honest", " an kind", " An kind"})
      CHECK((" " + text).find(wrong) == std::string::npos);
  }
  for (int i = 0; i < 200; ++i)
    for (const char* category : {"illicit", "hateful", "unqualified", ""}) {
      const std::string text = draw_preprompt(built_in_preprompts(), category, stream);
      for (const auto& adjective : adjectives()) {
        INFO(text);
        CHECK(text.find((adjective == "honest" ? " a " : " an ") + adjective) == std::string::npos);
      }
    }
}

TEST_CASE("preprompts: a broken row is refused with its line and field", "[distillation]") {
  const auto [row, text] = GENERATE(table<std::string, std::string>({{R"({"text": ""})", "\"text\" is empty"},
                                                                     {R"({"category": "illicit"})", "no \"text\""},
                                                                     {R"({"text": "Be {mood}."})", "slot other than {adjective}"},
                                                                     {R"({"text": "Be {adjective"})", "slot other than {adjective}"}}));
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "p.jsonl", "{\"text\": \"fine\"}\n" + row + "\n");
  CHECK_THROWS_WITH(read_preprompts(folder / "p.jsonl"), ContainsSubstring("p.jsonl:2: ") && ContainsSubstring(text));
  keel::test::write_text(folder / "p.jsonl", "\n{\"text\": \"fine\"}\n");
  CHECK(read_preprompts(folder / "p.jsonl").at(0).line == 2);
}
