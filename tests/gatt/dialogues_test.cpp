#include "gatt/dialogues.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "data/demonstrations.h"
#include "data/messages.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::Answer;
using keel::core::Dialogue;
using keel::data::ChatFormat;
using keel::data::Form;
using keel::gatt::GattConfig;
using keel::gatt::Instruction;
using keel::gatt::make_dialogues;
using keel::test::ByteTokenizer;

namespace {

const Instruction kPirate = {.text = "Act as a pirate.", .brief = "Figure: pirate.", .kind = "figure", .value = "pirate"};

Dialogue asked(int turns) {
  Dialogue dialogue;
  for (int i = 1; i <= turns; ++i) {
    dialogue.messages.push_back({"user", fmt::format("q{}", i)});
    dialogue.messages.push_back({"assistant", fmt::format("old{}", i)});
  }
  return dialogue;
}

// Answers "a1", "a2", ... and keeps the prompts.
struct Script {
  std::vector<std::string> prompts;
  std::optional<Answer> operator()(const Dialogue& prompt, int64_t turn) {
    std::string text;
    for (const auto& [role, content, learned] : prompt.messages)
      text += fmt::format("{}:{}|", role.substr(0, 1), content);
    prompts.push_back(text);
    return Answer{fmt::format(" a{} ", turn), true};
  }
};

keel::gatt::AnswerPrompts by(const std::function<std::optional<Answer>(const Dialogue&, int64_t)>& one) {
  return [one](const std::vector<Dialogue>& prompts, const std::vector<int64_t>&, int64_t turn) {
    std::vector<std::optional<Answer>> answers;
    for (const auto& prompt : prompts)
      answers.push_back(one(prompt, turn));
    return answers;
  };
}

// What `keel sft` learns from a dialogue: its tokens, the learned ones in braces.
std::string learned(const keel::gatt::GattDialogue& dialogue) {
  const ByteTokenizer bytes;
  keel::data::Counts counts;
  const nlohmann::json row = {{"messages", keel::data::messages_json(dialogue.messages)}};
  keel::data::DemonstrationSet set;
  set.rows.push_back(keel::data::parse_demonstration(row, counts).value());
  return bytes.show(keel::data::render_demonstrations(set, ChatFormat::llama2, bytes, {}).sequences.at(0));
}

}  // namespace

TEST_CASE("gatt: the model reads the instruction in every user turn, and learns the last answer under it in the first turn alone",
          "[gatt]") {
  Script script;
  const GattConfig config{.most_combined = 1, .shortened = 0};
  const auto data =
      make_dialogues({asked(1), asked(2), asked(3), asked(4)}, {kPirate}, config, ChatFormat::llama2, 1, by(std::ref(script)));
  // Turn by turn over all dialogues; its own answers, not the given ones, are the context.
  CHECK(script.prompts ==
        std::vector<std::string>{
            "u:Act as a pirate.\nq1|", "u:Act as a pirate.\nq1|", "u:Act as a pirate.\nq1|", "u:Act as a pirate.\nq1|",
            "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|", "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|",
            "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|",
            "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|a:a2|u:Act as a pirate.\nq3|",
            "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|a:a2|u:Act as a pirate.\nq3|",
            "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|a:a2|u:Act as a pirate.\nq3|a:a3|u:Act as a pirate.\nq4|"});
  REQUIRE(data.dialogues.size() == 4);
  CHECK(learned(data.dialogues[0]) == "<s>[INST] Act as a pirate.\nq1 [/INST]{ a1 </s>}");
  CHECK(learned(data.dialogues[1]) == "<s>[INST] Act as a pirate.\nq1 [/INST] a1 </s><s>[INST] q2 [/INST]{ a2 </s>}");
  CHECK(learned(data.dialogues[2]) ==
        "<s>[INST] Act as a pirate.\nq1 [/INST] a1 </s><s>[INST] q2 [/INST] a2 </s><s>[INST] q3 [/INST]{ a3 </s>}");
  CHECK(learned(data.dialogues[3]) ==
        "<s>[INST] Act as a pirate.\nq1 [/INST] a1 </s><s>[INST] q2 [/INST] a2 </s><s>[INST] q3 [/INST] a3 </s><s>[INST] q4 [/INST]{ a4 "
        "</s>}");
  CHECK(to_line(data.counts) == "kept 4, dropped 0, truncated 0");
  CHECK(data.dialogues[3].instruction == "Act as a pirate.");
  CHECK_FALSE(data.dialogues[3].shortened);
}

TEST_CASE("gatt: in the system form the instruction is learned in the system turn, before one that is there", "[gatt]") {
  Script script;
  Dialogue with_system = asked(2);
  with_system.messages.insert(with_system.messages.begin(), {"system", "Be kind."});
  const GattConfig config{.most_combined = 1, .shortened = 0, .form = Form::system};
  const auto data = make_dialogues({asked(2), with_system}, {kPirate}, config, ChatFormat::llama2, 1, by(std::ref(script)));
  CHECK(script.prompts[2] == "s:Act as a pirate.|u:q1|a:a1|u:Act as a pirate.\nq2|");
  CHECK(script.prompts[3] == "s:Act as a pirate.\nBe kind.|u:q1|a:a1|u:Act as a pirate.\nq2|");
  CHECK(learned(data.dialogues.at(0)) ==
        "<s>[INST] <<SYS>>\nAct as a pirate.\n<</SYS>>\n\nq1 [/INST] a1 </s><s>[INST] q2 [/INST]{ a2 </s>}");
  CHECK(learned(data.dialogues.at(1)) ==
        "<s>[INST] <<SYS>>\nAct as a pirate.\nBe kind.\n<</SYS>>\n\nq1 [/INST] a1 </s><s>[INST] q2 [/INST]{ a2 </s>}");
}

TEST_CASE("gatt: the short form is learned, the long one answered; half of the dialogues get it, those without one never", "[gatt]") {
  Script script;
  const auto all = make_dialogues({asked(2)}, {kPirate}, {.most_combined = 1, .shortened = 1}, ChatFormat::llama2, 1, by(std::ref(script)));
  CHECK(script.prompts[1] == "u:Act as a pirate.\nq1|a:a1|u:Act as a pirate.\nq2|");
  CHECK(learned(all.dialogues.at(0)) == "<s>[INST] Figure: pirate.\nq1 [/INST] a1 </s><s>[INST] q2 [/INST]{ a2 </s>}");
  CHECK(all.dialogues[0].shortened);
  CHECK(all.dialogues[0].instruction == "Act as a pirate.");

  const std::vector<Dialogue> many(1000, asked(1));
  const auto half = make_dialogues(many, {kPirate}, {.most_combined = 1}, ChatFormat::llama2, 7, by(std::ref(script)));
  const auto shortened = std::count_if(half.dialogues.begin(), half.dialogues.end(), [](const auto& one) { return one.shortened; });
  CHECK(shortened > 450);
  CHECK(shortened < 550);
  const auto none = make_dialogues(many, {{.text = "Rhyme."}}, {.most_combined = 1}, ChatFormat::llama2, 7, by(std::ref(script)));
  CHECK(std::none_of(none.dialogues.begin(), none.dialogues.end(), [](const auto& one) { return one.shortened; }));
}

TEST_CASE("gatt: instructions of different kinds are combined, each number of them equally often", "[gatt]") {
  const std::vector<Instruction> all = {kPirate,
                                        {.text = "Act as a king.", .brief = "Figure: king.", .kind = "figure"},
                                        {.text = "You love chess.", .brief = "Hobby: chess.", .kind = "hobby"},
                                        {.text = "Rhyme."}};
  std::map<int64_t, int> by_number;
  for (uint64_t i = 0; i < 3000; ++i) {
    keel::core::Stream stream(1, "test", i);
    const auto drawn = keel::gatt::combined(keel::gatt::draw_instructions(all, 3, stream));
    const auto has = [&](const char* text) { return drawn.text.find(text) != std::string::npos; };
    CHECK_FALSE((has("pirate") && has("king")));
    ++by_number[has("Act") + has("chess") + has("Rhyme")];
  }
  for (const int64_t number : {1, 2, 3}) {
    CHECK(by_number[number] > 900);
    CHECK(by_number[number] < 1100);
  }
  const auto both = keel::gatt::combined({all[0], all[2], all[3]});
  CHECK(both.text == "Act as a pirate. You love chess. Rhyme.");
  CHECK(both.brief == "Figure: pirate. Hobby: chess. Rhyme.");
}

TEST_CASE("gatt: with obeyed_only a dialogue ends with its last answer that obeys every part of the instruction", "[gatt]") {
  const Instruction shout = {.text = "Shout.", .pattern = "!$"}, rhyme = {.text = "Rhyme."};  // nobody can tell a rhyme
  const auto made = [&](const std::vector<std::string>& answers, bool obeyed_only = true, const Instruction& instruction = {}) {
    return make_dialogues({asked(static_cast<int>(answers.size()))}, {instruction.text.empty() ? shout : instruction},
                          {.most_combined = 1, .shortened = 0, .obeyed_only = obeyed_only}, ChatFormat::llama2, 1,
                          by([&](const Dialogue&, int64_t turn) {
                            return std::optional(Answer{answers.at(static_cast<size_t>(turn - 1)), true});
                          }));
  };
  const auto cut = made({"yes!", "no", "well"});
  CHECK(learned(cut.dialogues.at(0)) == "<s>[INST] Shout.\nq1 [/INST]{ yes! </s>}");
  CHECK(to_line(cut.counts) == "kept 1, dropped 0, truncated 1 (disobeyed 1)");
  // What comes before the learned answer is context, obedient or not.
  CHECK(to_line(made({"no", "yes!"}).counts) == "kept 1, dropped 0, truncated 0");
  CHECK(to_line(made({"no", "well"}).counts) == "kept 0, dropped 1 (disobeyed 1), truncated 0");
  CHECK(to_line(made({"no", "well"}, false).counts) == "kept 1, dropped 0, truncated 0");
  CHECK(to_line(made({"no", "well"}, true, rhyme).counts) == "kept 1, dropped 0, truncated 0");
  // All parts of a combined instruction must be obeyed.
  const Instruction quiet = {.text = "Be quiet.", .kind = "volume", .pattern = "^[a-z!]*$"},
                    loud = {.text = "Shout.", .kind = "style", .pattern = "!$"};
  for (const auto& [answer, counts] : {std::pair{"yes!", "kept 20, dropped 0, truncated 0"}, {"YES!", "disobeyed"}}) {
    const std::string text = answer;
    const auto both =
        make_dialogues(std::vector<Dialogue>(20, asked(1)), {quiet, loud}, {.most_combined = 2, .shortened = 0, .obeyed_only = true},
                       ChatFormat::llama2, 1, by([&](const Dialogue&, int64_t) {
                         return std::optional(Answer{text, true});
                       }));
    CHECK_THAT(to_line(both.counts), Catch::Matchers::ContainsSubstring(counts));
  }
}

TEST_CASE("gatt: a dialogue ends before an answer that cannot be used, and is left out where the first one cannot; both are counted",
          "[gatt]") {
  const auto on = [](int64_t bad_turn, std::optional<Answer> bad) {
    return by([=](const Dialogue&, int64_t turn) { return turn == bad_turn ? bad : std::optional(Answer{"fine", true}); });
  };
  const auto made = [&](int64_t turn, std::optional<Answer> bad, bool finished_only = true) {
    return make_dialogues({asked(3)}, {kPirate}, {.most_combined = 1, .shortened = 0, .finished_only = finished_only}, ChatFormat::llama2,
                          1, on(turn, std::move(bad)));
  };
  const std::string one_turn = "<s>[INST] Act as a pirate.\nq1 [/INST]{ fine </s>}";
  for (const auto& [answer, reason] : std::vector<std::pair<std::optional<Answer>, std::string>>{
           {std::nullopt, "over_long"}, {Answer{" \n", true}, "empty_answer"}, {Answer{"[INST]", true}, "tags"}}) {
    CAPTURE(reason);
    const auto cut = made(2, answer);
    REQUIRE(cut.dialogues.size() == 1);
    CHECK(learned(cut.dialogues[0]) == one_turn);
    CHECK(to_line(cut.counts) == fmt::format("kept 1, dropped 0, truncated 1 ({} 1)", reason));
    const auto gone = made(1, answer);
    CHECK(gone.dialogues.empty());
    CHECK(to_line(gone.counts) == fmt::format("kept 0, dropped 1 ({} 1), truncated 0", reason));
  }
  CHECK(to_line(made(2, Answer{"and so", false}, false).counts) == "kept 1, dropped 0, truncated 0");

  // An unfinished answer is context like any other; only the last answer must have ended by itself.
  const auto inside = made(2, Answer{"and so", false});
  CHECK(learned(inside.dialogues.at(0)) ==
        "<s>[INST] Act as a pirate.\nq1 [/INST] fine </s><s>[INST] q2 [/INST] and so </s><s>[INST] q3 [/INST]{ fine </s>}");
  CHECK(to_line(inside.counts) == "kept 1, dropped 0, truncated 0");
  const auto at_end = made(3, Answer{"and so", false});
  CHECK(learned(at_end.dialogues.at(0)) == "<s>[INST] Act as a pirate.\nq1 [/INST] fine </s><s>[INST] q2 [/INST]{ fine </s>}");
  CHECK(to_line(at_end.counts) == "kept 1, dropped 0, truncated 1 (unfinished 1)");
  const auto never = make_dialogues({asked(2)}, {kPirate}, {.most_combined = 1}, ChatFormat::llama2, 1, by([](const Dialogue&, int64_t) {
                                      return std::optional(Answer{"and so", false});
                                    }));
  CHECK(never.dialogues.empty());
  CHECK(to_line(never.counts) == "kept 0, dropped 1 (unfinished 1), truncated 0");
}

TEST_CASE("gatt: a dialogue's answers and instruction do not depend on the others", "[gatt]") {
  const std::vector<Instruction> two = {kPirate, {.text = "You love chess.", .kind = "hobby"}};
  std::vector<std::vector<int64_t>> seen;
  const auto answer = [&](const std::vector<Dialogue>& prompts, const std::vector<int64_t>& records, int64_t turn) {
    seen.push_back(records);
    std::vector<std::optional<Answer>> answers;
    for (size_t i = 0; i < prompts.size(); ++i)
      answers.push_back(Answer{fmt::format("{} at {}", records[i], turn), true});
    return answers;
  };
  const auto data = make_dialogues({asked(1), asked(3), asked(2)}, two, {}, ChatFormat::llama2, 1, answer);
  CHECK(seen == std::vector<std::vector<int64_t>>{{0, 1, 2}, {1, 2}, {1}});
  REQUIRE(data.dialogues.size() == 3);
  CHECK(data.dialogues[2].record == 2);
  CHECK(data.dialogues[1].messages.messages.back().content == "1 at 3");
  CHECK(data.dialogues[2].messages.messages.back().content == "2 at 2");
}
