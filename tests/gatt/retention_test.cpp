#include "gatt/retention.h"

#include <fmt/format.h>

#include <map>

#include "gatt/language.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::Answer;
using keel::core::Dialogue;
using keel::gatt::Instruction;
using keel::gatt::RetentionConfig;

namespace {

Dialogue questions(int turns) {
  Dialogue dialogue;
  for (int i = 1; i <= turns; ++i)
    dialogue.messages.insert(dialogue.messages.end(), {{"user", fmt::format("q{}", i)}, {"assistant", "given"}});
  return dialogue;
}

const std::vector<Instruction> kInstructions = {{.text = "Say A.", .kind = "letter", .value = "A", .pattern = "A"},
                                                {.text = "Say B.", .kind = "letter", .value = "B", .pattern = "B"},
                                                {.text = "Say 1.", .kind = "digit", .value = "1", .pattern = "1"},
                                                {.text = "Say Z.", .kind = "letter", .value = "Z", .pattern = "Z", .unseen = true}};

// A model that says everything that the last `reach` user turns tell it to say.
keel::gatt::AnswerPrompts model(size_t reach) {
  return [reach](const std::vector<Dialogue>& prompts, const std::vector<int64_t>&, int64_t) {
    std::vector<std::optional<Answer>> answers;
    for (const auto& prompt : prompts) {
      std::string said;
      size_t user_turns = 0;
      for (auto turn = prompt.messages.rbegin(); turn != prompt.messages.rend() && user_turns < reach; ++turn) {
        if (turn->role != "user") continue;
        ++user_turns;
        for (const char letter : {'A', 'B', '1', 'Z'})
          if (turn->content.find(std::string("Say ") + letter) != std::string::npos) said += letter;
      }
      answers.push_back(Answer{said + " given", true});
    }
    return answers;
  };
}

std::vector<std::optional<bool>> by_pattern(const std::vector<keel::gatt::Obedience>& asked) {
  std::vector<std::optional<bool>> verdicts;
  for (const auto& one : asked)
    verdicts.push_back(keel::gatt::obeys_by_pattern_or_language(one.instruction, one.answer));
  return verdicts;
}

std::map<std::string, std::string> kept_with(const keel::gatt::AnswerPrompts& answers, const RetentionConfig& config) {
  const auto trials = keel::gatt::plan_trials({questions(6), questions(7)}, kInstructions, config, 1);
  const auto rows = keel::gatt::look_at(trials, keel::gatt::hold_trials(trials, config, answers), config, by_pattern);
  std::map<std::string, std::string> shown;
  for (const auto& row : keel::gatt::kept_by_turn(trials, rows))
    shown[row.group] += fmt::format("{}: {}/{} ", row.turn, row.kept, row.trials);
  return shown;
}

}  // namespace

TEST_CASE("retention: an instruction counts as kept where the answer obeys all that is in force at that turn", "[gatt]") {
  const RetentionConfig config{.turns = {1, 2, 4, 6}, .dialogues = 5, .change_at = 3};
  // One that reads all turns obeys throughout, and says the old letter beside the new one.
  CHECK(kept_with(model(100), config) == std::map<std::string, std::string>{{"changed", "1: 5/5 2: 5/5 4: 5/5 6: 5/5 "},
                                                                            {"combined", "1: 5/5 2: 5/5 4: 5/5 6: 5/5 "},
                                                                            {"trained", "1: 5/5 2: 5/5 4: 5/5 6: 5/5 "},
                                                                            {"unseen", "1: 5/5 2: 5/5 4: 5/5 6: 5/5 "}});
  // One that reads two user turns has forgotten by turn 3; the change at turn 3 reaches turn 4.
  CHECK(kept_with(model(2), config) == std::map<std::string, std::string>{{"changed", "1: 5/5 2: 5/5 4: 5/5 6: 0/5 "},
                                                                          {"combined", "1: 5/5 2: 5/5 4: 0/5 6: 0/5 "},
                                                                          {"trained", "1: 5/5 2: 5/5 4: 0/5 6: 0/5 "},
                                                                          {"unseen", "1: 5/5 2: 5/5 4: 0/5 6: 0/5 "}});
}

TEST_CASE("retention: a trial whose prompt does not fit counts at the turns that it reached", "[gatt]") {
  const RetentionConfig config{.turns = {1, 3}, .dialogues = 2, .change_at = 100};
  const auto short_context = [](const std::vector<Dialogue>& prompts, const std::vector<int64_t>& records, int64_t turn) {
    std::vector<std::optional<Answer>> answers(prompts.size(), Answer{"A B 1 Z"});
    for (size_t i = 0; i < prompts.size(); ++i)
      if (turn == 2 && records[i] == 0) answers[i] = std::nullopt;
    return answers;
  };
  CHECK(kept_with(short_context, config) ==
        std::map<std::string, std::string>{{"combined", "1: 2/2 3: 1/1 "}, {"trained", "1: 2/2 3: 1/1 "}, {"unseen", "1: 2/2 3: 1/1 "}});
}

TEST_CASE("retention: dialogues that are too short and instructions that nothing checks are refused", "[gatt]") {
  CHECK_THROWS_WITH(keel::gatt::plan_trials({questions(20), questions(19)}, kInstructions, {}, 1),
                    ContainsSubstring("dialogue 2 has 19 user turns"));
  CHECK_FALSE(keel::gatt::has_checker({.text = "Act as Napoleon.", .kind = "figure", .value = "Napoleon"}));
  CHECK(keel::gatt::obeys_by_pattern_or_language({.text = "Act as Napoleon."}, "x") == std::nullopt);
}

TEST_CASE("retention: of several instructions a broken one decides, then one that nobody could tell; such answers are not counted",
          "[gatt]") {
  const RetentionConfig config{.turns = {1, 2, 3, 4}, .dialogues = 1, .change_at = 100};
  const std::vector<keel::gatt::Trial> trials = {
      {.group = "combined", .questions = questions(4), .instructions = {kInstructions[0], kInstructions[2]}}};
  const std::optional<bool> yes = true, no = false, unknown = std::nullopt;
  std::vector<std::string> asked;
  const auto rows = keel::gatt::look_at(trials, {{"a1", "a2", "a3", "a4"}}, config, [&](const std::vector<keel::gatt::Obedience>& all) {
    for (const auto& one : all)
      asked.push_back(one.instruction.value + " " + one.question + " " + one.answer);
    return std::vector{yes, unknown, unknown, no, no, unknown, yes, yes};
  });
  CHECK(asked == std::vector<std::string>{"A q1 a1", "1 q1 a1", "A q2 a2", "1 q2 a2", "A q3 a3", "1 q3 a3", "A q4 a4", "1 q4 a4"});
  REQUIRE(rows.size() == 4);
  CHECK((rows[0].kept == unknown && rows[1].kept == no && rows[2].kept == no && rows[3].kept == yes));
  const auto counts = keel::gatt::kept_by_turn(trials, rows);
  REQUIRE(counts.size() == 3);  // nothing at turn 1
  CHECK((counts[0].turn == 2 && counts[0].kept == 0 && counts[0].trials == 1 && counts[2].kept == 1));
}

TEST_CASE("language: short answers in eight languages", "[gatt]") {
  const std::vector<std::pair<std::string, std::string>> known = {{"English", "The boat lies in the harbour and the fish are fresh."},
                                                                  {"French", "Le bateau est dans le port et les poissons sont frais."},
                                                                  {"German", "Das Boot liegt im Hafen und die Fische sind frisch."},
                                                                  {"Spanish", "El barco esta en el puerto y los peces son frescos."},
                                                                  {"Italian", "La barca si trova nel porto e i pesci sono freschi."},
                                                                  {"Portuguese", "O barco fica no porto e os peixes s\u00e3o frescos."},
                                                                  {"Dutch", "De boot ligt in de haven en de vissen zijn vers."},
                                                                  {"Russian",
                                                                   "\u041b\u043e\u0434\u043a\u0430 \u0441\u0442\u043e\u0438\u0442 \u0432 "
                                                                   "\u0433\u0430\u0432\u0430\u043d\u0438."}};
  for (const auto& [own, text] : known)
    for (const auto& [language, other] : known) {
      CAPTURE(language, text);
      CHECK(keel::gatt::is_in_language(text, language) == (language == own));
    }
  CHECK_FALSE(keel::gatt::is_in_language("42", "English"));
  CHECK(keel::gatt::known_language("french"));
  CHECK_FALSE(keel::gatt::known_language("pirate"));
  CHECK_FALSE(keel::gatt::known_language("unknown"));
}
