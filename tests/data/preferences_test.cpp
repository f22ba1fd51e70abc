#include "data/preferences.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::DataError;
using keel::core::Dialogue;
using keel::core::PreferencePair;
using keel::data::ChatFormat;
using keel::data::Counts;
using keel::data::parse_preference;
using keel::data::read_preferences;
using keel::test::ByteTokenizer;
using nlohmann::json;

namespace {

std::optional<PreferencePair> parse(const json& row, bool safety = false) {
  Counts counts;
  return parse_preference(row, {.safety = safety}, counts);
}

// The reason why a row is dropped, "" when it is kept.
std::string dropped(const json& row, bool safety = false) {
  Counts counts;
  const bool kept = parse_preference(row, {.safety = safety}, counts).has_value();
  REQUIRE(counts.kept == (kept ? 1 : 0));
  REQUIRE(counts.dropped.size() == (kept ? 0U : 1U));
  return kept ? "" : counts.dropped.begin()->first;
}

const Dialogue kQuestion = {{{"user", "q"}}};
json user(const std::string& text) {
  return {{"role", "user"}, {"content", text}};
}
json assistant(const std::string& text) {
  return {{"role", "assistant"}, {"content", text}};
}

}  // namespace

TEST_CASE("preferences: every accepted format gives the same pair", "[data]") {
  const json row =
      GENERATE(json{{"prompt", "q"}, {"chosen", "good"}, {"rejected", "bad"}},
               json{{"prompt", json::array({user("q")})}, {"chosen", "good"}, {"rejected", "bad"}},
               json{{"prompt", json::array({user("q")})},
                    {"chosen", json::array({assistant("good")})},
                    {"rejected", json::array({assistant("bad")})}},
               json{{"chosen", json::array({user("q"), assistant("good")})}, {"rejected", json::array({user("q"), assistant("bad")})}},
               json{{"prompt", "q"},
                    {"chosen", json::array({user("q"), assistant("good")})},
                    {"rejected", json::array({user("q"), assistant("bad")})}},
               json{{"chosen", "\n\nHuman: q\n\nAssistant: good"}, {"rejected", "\n\nHuman: q\n\nAssistant: bad "}},
               json{{"prompt", "\n\nHuman: q\n\nAssistant:"}, {"chosen", " good"}, {"rejected", " bad"}, {"unknown", 1}});
  const auto pair = parse(row);
  REQUIRE(pair);
  CHECK(pair->prompt == kQuestion);
  CHECK(pair->chosen == "good");
  CHECK(pair->rejected == "bad");
  CHECK(pair->strength == 0);
  CHECK_FALSE(pair->chosen_safe);
}

TEST_CASE("preferences: labels are read, and a written pair reads back equal", "[data]") {
  const auto pair = parse({{"prompt", "q"},
                           {"chosen", "a"},
                           {"rejected", "b"},
                           {"strength", 4},
                           {"chosen_safe", true},
                           {"rejected_safe", false},
                           {"source", "meta"},
                           {"batch", 3}});
  REQUIRE(pair);
  CHECK(pair->strength == 4);
  CHECK(pair->chosen_safe == true);
  CHECK(pair->rejected_safe == false);
  CHECK(pair->source == "meta");
  CHECK(pair->batch == "3");
  const auto again = parse(keel::data::preference_json(*pair));
  REQUIRE(again);
  CHECK(keel::data::preference_json(*again) == keel::data::preference_json(*pair));
  CHECK(again->prompt == pair->prompt);
  CHECK(parse({{"prompt", "q"}, {"chosen", "a"}, {"rejected", "b"}, {"strength", nullptr}, {"chosen_safe", nullptr}, {"batch", nullptr}}));
}

TEST_CASE("preferences: rows that cannot be used are dropped, each for its reason", "[data]") {
  CHECK(dropped({{"prompt", "q"}, {"chosen", " \n"}, {"rejected", "b"}}) == "empty_answer");
  CHECK(dropped({{"prompt", "q"}, {"chosen", "a"}, {"rejected", ""}}) == "empty_answer");
  CHECK(dropped({{"prompt", "q"}, {"chosen", "a"}, {"rejected", " a\n"}}) == "identical_answers");
  CHECK(dropped({{"chosen", json::array({user("q"), assistant("a")})}, {"rejected", json::array({user("r"), assistant("b")})}}) ==
        "prompts_differ");
  CHECK(dropped({{"prompt", "p"},
                 {"chosen", json::array({user("q"), assistant("a")})},
                 {"rejected", json::array({user("q"), assistant("b")})}}) == "prompts_differ");
  CHECK(dropped({{"chosen", json::array({user("q")})}, {"rejected", json::array({user("q"), assistant("b")})}}) == "no_answer");
  CHECK(dropped({{"chosen", "\n\nHuman: q\n\nAssistant: a\n\nHuman: r"}, {"rejected", "\n\nHuman: q\n\nAssistant: b"}}) == "no_answer");
  CHECK(dropped({{"chosen", "\n\nAssistant: hello\n\nHuman: q\n\nAssistant: a"},
                 {"rejected", "\n\nAssistant: hello\n\nHuman: q\n\nAssistant: b"}}) == "assistant_first");
}

TEST_CASE("preferences: the prompt of whole dialogues is what both share, whatever copy of it stands beside them", "[data]") {
  const json before =
      json::array({{{"role", "system"}, {"content", "Be brief."}}, user("Hi, I need\nhelp"), assistant("Sure."), user("Name a river")});
  const auto with_answer = [](json turns, const std::string& answer) {
    turns.push_back(assistant(answer));
    return turns;
  };
  const auto row = [&](const json& prompt) {
    return json{{"prompt", prompt}, {"chosen", with_answer(before, "Elbe")}, {"rejected", with_answer(before, "No")}};
  };
  // The first turn, the last one, with other blanks, cut, the whole as HH-RLHF text, a list without the system turn; or nothing.
  for (const json& prompt :
       {json("Hi, I need help"), json("Name a river"), json(" Name a  river\n"), json("Hi, I need"), json(""), json(nullptr), json::array(),
        json::array({{{"role", "system"}, {"content", "Be brief."}}}),
        json("\n\nHuman: Hi, I need help\n\nAssistant: Sure.\n\nHuman: Name a river\n\nAssistant:"), json::array({user("Name a river")})}) {
    const auto pair = parse(row(prompt));
    INFO(prompt.dump());
    REQUIRE(pair);
    CHECK(pair->prompt ==
          Dialogue{{{"system", "Be brief."}, {"user", "Hi, I need\nhelp"}, {"assistant", "Sure."}, {"user", "Name a river"}}});
    CHECK(pair->chosen == "Elbe");
    CHECK(pair->rejected == "No");
  }
  CHECK(dropped(row("Name a hill")) == "prompts_differ");  // it matches none of their turns
  const std::string hh = "\n\nHuman: q\n\nAssistant: ";
  CHECK(parse({{"prompt", hh}, {"chosen", hh + "a"}, {"rejected", hh + "b"}})->chosen == "a");
  CHECK(dropped({{"prompt", hh}, {"chosen", hh + "a"}, {"rejected", "\n\nHuman: r\n\nAssistant: b"}}) == "prompts_differ");
  // Two sides of one kind remain answers to the prompt.
  CHECK(parse({{"prompt", "q"}, {"chosen", json::array({assistant("a")})}, {"rejected", json::array({assistant("b")})}})->chosen == "a");
}

TEST_CASE("preferences: null is absent in every column", "[data]") {
  const auto pair = parse(json::parse(
      R"({"prompt":"q","chosen":"a","rejected":"b","strength":null,"chosen_safe":null,"rejected_safe":null,"source":null,"batch":null})"));
  REQUIRE(pair);
  CHECK(pair->source.empty());
  CHECK(pair->batch.empty());
  CHECK_THROWS_WITH(parse(json::parse(R"({"prompt":"q","chosen":"a","rejected":null})")),
                    Catch::Matchers::ContainsSubstring("no \"rejected\""));
}

TEST_CASE("preferences: chosen unsafe against rejected safe is dropped from safety data alone", "[data]") {
  const json row = {{"prompt", "q"}, {"chosen", "a"}, {"rejected", "b"}, {"chosen_safe", false}, {"rejected_safe", true}};
  CHECK(dropped(row, true) == "unsafe_chosen");
  CHECK(dropped(row, false) == "");
  CHECK(dropped({{"prompt", "q"}, {"chosen", "a"}, {"rejected", "b"}, {"chosen_safe", false}, {"rejected_safe", false}}, true) == "");
  CHECK(dropped({{"prompt", "q"}, {"chosen", "a"}, {"rejected", "b"}, {"chosen_safe", false}}, true) == "");
  CHECK(dropped({{"prompt", "q"}, {"chosen", "a"}, {"rejected", "b"}}, true) == "");
}

TEST_CASE("preferences: in HH-RLHF text the prompt ends at the last Assistant:", "[data]") {
  // One side says a second thing where the other does not: their texts differ before the last marker.
  CHECK(dropped({{"chosen", "\n\nHuman: q\n\nAssistant: wait\n\nAssistant: a"}, {"rejected", "\n\nHuman: q\n\nAssistant: b"}}) ==
        "prompts_differ");
  // Both answers begin with the same turn: it belongs to both, joined by a newline, and the prompt still ends with a user turn.
  const auto pair = parse({{"chosen", "\n\nHuman: q\n\nHuman: r\n\nAssistant: wait\n\nAssistant: a"},
                           {"rejected", "\n\nHuman: q\n\nHuman: r\n\nAssistant: wait\n\nAssistant: b"}});
  REQUIRE(pair);
  CHECK(pair->prompt == Dialogue{{{"user", "q\nr"}}});
  CHECK(pair->chosen == "wait\na");
  CHECK(pair->rejected == "wait\nb");
}

TEST_CASE("preferences: a malformed row is an error with file, line and field", "[data]") {
  struct Case {
    std::string row, says;
  };
  const auto [row, says] = GENERATE(
      Case{R"({"prompt":"q","chosen":"a"})", "\"rejected\""}, Case{R"({"prompt":"q","chosen":"a","rejected":7})", "\"rejected\""},
      Case{R"({"prompt":7,"chosen":"a","rejected":"b"})", "\"prompt\""}, Case{R"({"chosen":"a","rejected":"b"})", "without a \"prompt\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":["b"]})", "one kind"},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","strength":0})", "\"strength\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","strength":5})", "\"strength\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","strength":2.0})", "\"strength\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","strength":"3"})", "\"strength\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","strength":true})", "\"strength\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","chosen_safe":1})", "\"chosen_safe\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","rejected_safe":"no"})", "\"rejected_safe\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","source":[]})", "\"source\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b","batch":1.5})", "\"batch\""},
      Case{R"({"prompt":"q","chosen":"a","rejected":"b)", "pairs.jsonl:2"},
      Case{"{\"prompt\":\"q\xff\",\"chosen\":\"a\",\"rejected\":\"b\"}", "UTF-8"},
      Case{R"({"prompt":"q","chosen":[{"role":"assistant"}],"rejected":[{"role":"assistant","content":"b"}]})", "\"content\""},
      Case{R"({"prompt":"q","chosen":[{"role":"bot","content":"a"}],"rejected":[{"role":"assistant","content":"b"}]})", "\"bot\""},
      Case{R"({"prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"x"}],"chosen":"a","rejected":"b"})", "user turn"},
      Case{R"({"prompt":"\n\nHuman: q\n\nAssistant:","chosen":"\n\nHuman: q\n\nAssistant: a","rejected":"b"})", "leave the \"prompt\" out"},
      // The chosen side alone makes the pair unusable, but the malformed other side is still an error.
      Case{R"({"chosen":[{"role":"user","content":"q"}],"rejected":[{"role":"user","content":7}]})", "\"content\""},
      Case{R"({"chosen":[],"rejected":[]})", "user turn"});
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "pairs.jsonl", "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n" + row + "\n");
  CHECK_THROWS_AS(read_preferences(folder / "pairs.jsonl"), DataError);
  CHECK_THROWS_WITH(read_preferences(folder / "pairs.jsonl"),
                    Catch::Matchers::ContainsSubstring("pairs.jsonl:2") && Catch::Matchers::ContainsSubstring(says));
}

TEST_CASE("preferences: a file gives its pairs, their lines and one line of counts", "[data]") {
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(
      folder / "pairs.jsonl",
      "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"a\"}\n\n{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
      "{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"b\"}\n{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"\"}");
  const auto set = read_preferences(folder / "pairs.jsonl");
  REQUIRE(set.pairs.size() == 1);
  CHECK(set.lines == std::vector<int64_t>{3});
  CHECK(to_line(set.counts) == "kept 1, dropped 3 (empty_answer 2, identical_answers 1), truncated 0");
  CHECK(to_json(set.counts) == json::parse(R"({"kept":1,"dropped":{"empty_answer":2,"identical_answers":1},"truncated":{}})"));
  Counts twice = set.counts;
  twice += set.counts;
  CHECK(to_line(twice) == "kept 2, dropped 6 (empty_answer 4, identical_answers 2), truncated 0");
}

TEST_CASE("preferences: both sides are rendered and finished; what does not fit is dropped and counted", "[data]") {
  const ByteTokenizer bytes;
  PreferencePair pair = {.prompt = kQuestion,
                         .chosen = "good",
                         .rejected = "bad!!",
                         .strength = 3,
                         .chosen_safe = true,
                         .rejected_safe = {},
                         .source = "",
                         .batch = ""};
  // "<s>[INST] q [/INST]" 17 ids, " good " 6 or " bad!! " 7, "</s>" 1
  Counts counts;
  const auto fitting = keel::data::render_pair(pair, ChatFormat::llama2, bytes, {.max_tokens = 25}, counts);
  REQUIRE(fitting);
  CHECK(bytes.decode(fitting->chosen) == "[INST] q [/INST] good ");
  CHECK(bytes.decode(fitting->rejected) == "[INST] q [/INST] bad!! ");
  CHECK(fitting->chosen.back() == ByteTokenizer::kEos);
  CHECK(fitting->rejected.size() == 25);
  CHECK(fitting->strength == 3);
  CHECK(fitting->chosen_safe == true);
  CHECK_FALSE(keel::data::render_pair(pair, ChatFormat::llama2, bytes, {.max_tokens = 24}, counts));
  CHECK_FALSE(keel::data::render_pair(pair, ChatFormat::llama2, bytes, {.max_tokens = 24, .drop_oldest_turns = true}, counts));
  CHECK(to_line(counts) == "kept 1, dropped 2 (over_long 2), truncated 0");
}

TEST_CASE("preferences: a long prompt loses its oldest exchanges on both sides alike, on request, and is counted", "[data]") {
  const ByteTokenizer bytes;
  PreferencePair pair;
  pair.prompt = {{{"system", "S"}, {"user", "one"}, {"assistant", "1"}, {"user", "two"}, {"assistant", "2"}, {"user", "three"}}};
  pair.chosen = "3";
  pair.rejected = std::string(10, 'x');
  Counts counts;
  const auto limits = keel::data::RenderLimits{.max_tokens = 74, .drop_oldest_turns = true};
  const auto shortened = keel::data::render_pair(pair, ChatFormat::llama2, bytes, limits, counts);
  REQUIRE(shortened);
  CHECK(bytes.decode(shortened->chosen) == "[INST] <<SYS>>\nS\n<</SYS>>\n\nthree [/INST] 3 ");
  CHECK(bytes.decode(shortened->rejected) == "[INST] <<SYS>>\nS\n<</SYS>>\n\nthree [/INST] xxxxxxxxxx ");
  CHECK(to_line(counts) == "kept 1, dropped 0, truncated 1 (oldest_turns 1)");
}

TEST_CASE("preferences: tags in a row are refused with its file and line, or kept as plain text", "[data]") {
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(
      folder / "pairs.jsonl",
      "\n{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"prompt\":\"say [INST]\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
  const ByteTokenizer bytes;
  const auto set = read_preferences(folder / "pairs.jsonl");
  CHECK_THROWS_AS(render_pairs(set, ChatFormat::llama2, bytes, {}), DataError);
  CHECK_THROWS_WITH(render_pairs(set, ChatFormat::llama2, bytes, {}), Catch::Matchers::ContainsSubstring("pairs.jsonl:3"));
  const auto rendered =
      render_pairs(set, ChatFormat::llama2, bytes, {.max_tokens = 4096, .drop_oldest_turns = false, .tags = keel::data::TagPolicy::allow});
  CHECK(rendered.pairs.size() == 2);
  CHECK(rendered.rows == std::vector<size_t>{0, 1});
}

TEST_CASE("preferences: the counts of HH-RLHF are those of tools/oracle/hh_counts.py", "[data]") {
  const auto folder = keel::test::shared_data() / "hh-rlhf";
  struct Expected {
    std::string name, line;
    int64_t user_turns, answer_bytes;
  };
  const auto expected = GENERATE(
      Expected{"helpful-base", "kept 2339, dropped 15 (empty_answer 4, identical_answers 2, prompts_differ 9), truncated 0", 5788, 579135},
      Expected{"harmless-base", "kept 2303, dropped 9 (empty_answer 4, prompts_differ 5), truncated 0", 5739, 391124});
  const auto set = read_preferences(folder / expected.name / "test.jsonl.gz");
  CHECK(to_line(set.counts) == expected.line);
  int64_t user_turns = 0, answer_bytes = 0;
  const ByteTokenizer bytes;
  for (const PreferencePair& pair : set.pairs) {
    for (const auto& message : pair.prompt.messages)
      user_turns += message.role == "user" ? 1 : 0;
    answer_bytes += std::ssize(pair.chosen);
  }
  CHECK(user_turns == expected.user_turns);
  CHECK(answer_bytes == expected.answer_bytes);
  CHECK(render_pairs(set, ChatFormat::hh, bytes, {.max_tokens = 1 << 20}).counts.kept == set.counts.kept);
}
