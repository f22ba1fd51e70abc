#include "data/demonstrations.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using Catch::Matchers::ContainsSubstring;
using keel::core::DataError;
using keel::core::Dialogue;
using keel::data::ChatFormat;
using keel::data::Counts;
using keel::data::Demonstration;
using keel::data::DemonstrationSet;
using keel::data::parse_demonstration;
using keel::data::read_demonstrations;
using keel::data::render_demonstrations;
using keel::test::ByteTokenizer;
using nlohmann::json;

namespace {

DemonstrationSet in_memory(std::vector<Demonstration> rows) {
  DemonstrationSet set;
  set.rows = std::move(rows);
  return set;
}

}  // namespace

TEST_CASE("demonstrations: messages, prompt with completion, and text are read", "[data]") {
  const std::string messages = R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"}])";
  const std::string row = GENERATE_COPY(
      "{\"messages\":" + messages + ",\"prompt\":\"ignored\",\"text\":\"ignored\"}", std::string(R"({"prompt":"q","completion":"a"})"),
      std::string(R"({"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]})"),
      std::string(R"({"prompt":[{"role":"user","content":"q"}],"completion":"a"})"),
      std::string(R"({"prompt":"q","completion":[{"role":"assistant","content":"a"}]})"),
      std::string(R"({"prompt":"\n\nHuman: q\n\nAssistant:","completion":" a"})"));
  Counts counts;
  const auto read = parse_demonstration(json::parse(row), counts);
  REQUIRE(read);
  CHECK(read->dialogue == Dialogue{{{"user", "q"}, {"assistant", "a"}}});
  CHECK(read->text.empty());
  CHECK(counts.kept == 1);
  const auto text = parse_demonstration(json{{"text", " plain "}}, counts);
  REQUIRE(text);
  CHECK(text->text == " plain ");
  CHECK(text->dialogue.messages.empty());
}

TEST_CASE("demonstrations: null is absent, so that the form that is there is read", "[data]") {
  Counts counts;
  const std::string messages = R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"}])";
  const Dialogue dialogue = {{{"user", "q"}, {"assistant", "a"}}};
  const auto read = [&](const std::string& row) { return parse_demonstration(json::parse(row), counts); };
  CHECK(read("{\"messages\":" + messages + ",\"text\":null,\"prompt\":null,\"completion\":null}")->dialogue == dialogue);
  CHECK(read(R"({"messages":null,"text":null,"prompt":"q","completion":"a"})")->dialogue == dialogue);
  CHECK(read(R"({"messages":null,"prompt":"q","completion":null,"text":"plain"})")->text == "plain");
  CHECK_THROWS_WITH(read(R"({"messages":null,"prompt":"q","text":null})"), Catch::Matchers::ContainsSubstring("the row has: prompt"));
}

TEST_CASE("demonstrations: rows without an answer are dropped and counted", "[data]") {
  Counts counts;
  CHECK_FALSE(parse_demonstration(json::parse(R"({"messages":[{"role":"user","content":"q"}]})"), counts));
  CHECK_FALSE(parse_demonstration(json{{"prompt", "q"}, {"completion", "\n "}}, counts));
  CHECK_FALSE(parse_demonstration(json{{"text", ""}}, counts));
  CHECK(to_line(counts) == "kept 0, dropped 3 (empty_answer 2, no_answer 1), truncated 0");
}

TEST_CASE("demonstrations: a malformed row is an error with file, line and field", "[data]") {
  struct Case {
    std::string row, says;
  };
  const auto [row, says] = GENERATE(
      Case{R"({})", "nothing"}, Case{R"({"prompt":"q"})", "the row has: prompt"}, Case{R"({"text":1})", "\"text\""},
      Case{R"({"messages":"hi"})", "\"messages\""}, Case{R"({"messages":[]})", "user turn"}, Case{R"({"messages":["hi"]})", "message 1"},
      Case{R"({"messages":[{"role":"user","content":null}]})", "\"content\""},
      Case{R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})", "message 2 must be assistant, got user"},
      Case{R"({"prompt":"q","completion":7})", "\"completion\""}, Case{R"({"prompt":7,"completion":"a"})", "\"prompt\""},
      Case{R"({"prompt":"q","completion":[{"role":"user","content":"a"}]})", "message 2"}, Case{R"([1])", "rows.jsonl:2"});
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "rows.jsonl", "{\"text\":\"fine\"}\n" + row);
  CHECK_THROWS_AS(read_demonstrations(folder / "rows.jsonl"), DataError);
  CHECK_THROWS_WITH(read_demonstrations(folder / "rows.jsonl"),
                    Catch::Matchers::ContainsSubstring("rows.jsonl:2") && Catch::Matchers::ContainsSubstring(says));
}

TEST_CASE("demonstrations: dialogues learn their answers, text learns all but its BOS", "[data]") {
  const ByteTokenizer bytes;
  const auto out = render_demonstrations(in_memory({{{{{"user", "q"}, {"assistant", "a"}}}, ""}, {{}, "[INST] stays text"}}),
                                         ChatFormat::llama2, bytes, {});
  REQUIRE(out.sequences.size() == 2);
  CHECK(bytes.show(out.sequences[0]) == "<s>[INST] q [/INST]{ a </s>}");
  CHECK(bytes.show(out.sequences[1]) == "<s>{[INST] stays text</s>}");
  CHECK(to_line(out.counts) == "kept 2, dropped 0, truncated 0");
}

TEST_CASE("demonstrations: of a prompt with its completion the completion's answers alone are learned", "[data]") {
  const ByteTokenizer bytes;
  const auto shown = [&](const std::string& row) {
    Counts counts;
    const auto demonstration = parse_demonstration(json::parse(row), counts);
    REQUIRE(demonstration);
    const auto out = render_demonstrations(in_memory({*demonstration}), ChatFormat::llama2, bytes, {});
    return bytes.show(out.sequences.at(0));
  };
  const std::string prompt = R"("prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}])";
  const std::string two = R"([{"role":"assistant","content":"d"},{"role":"user","content":"e"},{"role":"assistant","content":"f"}])";
  CHECK(shown("{" + prompt + R"(,"completion":"d"})") == "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]{ d </s>}");
  CHECK(shown("{" + prompt + R"(,"completion":)" + two + "}") ==
        "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]{ d </s>}<s>[INST] e [/INST]{ f </s>}");
  CHECK(shown(R"({"prompt":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:","completion":" d"})") ==
        "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]{ d </s>}");
}

TEST_CASE("demonstrations: Alpaca's and self-instruct's instructions, with and without an input", "[data]") {
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "rows.json", R"([
    {"instruction": "Sort.", "input": "b a", "output": "a b"},
    {"instruction": "Say hi.", "input": "", "output": "hi"},
    {"instruction": "Say ho.", "output": "ho"},
    {"instruction": "Say nothing.", "output": " "},
    {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"input": "", "output": "0"}]},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "instruction": "unread"}])");
  const DemonstrationSet set = read_demonstrations(folder / "rows.json");
  std::vector<std::pair<std::string, std::string>> read;
  for (const auto& row : set.rows) {
    REQUIRE(row.dialogue.messages.size() == 2);
    read.emplace_back(row.dialogue.messages[0].content, row.dialogue.messages[1].content);
  }
  CHECK(read == std::vector<std::pair<std::string, std::string>>{
                    {"Sort.\n\nb a", "a b"}, {"Say hi.", "hi"}, {"Say ho.", "ho"}, {"Add.\n\n1 1", "2"}, {"Add.", "0"}, {"x", "y"}});
  CHECK(set.lines == std::vector<int64_t>{2, 3, 4, 6, 6, 7});
  CHECK(to_line(set.counts) == "kept 6, dropped 1 (empty_answer 1), truncated 0");
  for (const auto& [row, words] : {std::pair{R"({"instruction": "a"})", ":1: the row has no \"output\""},
                                   {R"({"instruction": 3, "output": "b"})", ":1: \"instruction\""},
                                   {R"({"instruction": "a", "instances": {"output": "b"}})", ":1: \"instances\" must be a list"},
                                   {R"({"instruction": "a", "instances": ["b"]})", ":1: \"instances\" must hold objects"}}) {
    keel::test::write_text(folder / "bad.jsonl", row);
    CHECK_THROWS_WITH(read_demonstrations(folder / "bad.jsonl"), ContainsSubstring("bad.jsonl") && ContainsSubstring(words));
  }
}

TEST_CASE("demonstrations: \"weight\" says which answers are learned, as in OpenAI's format for fine-tuning", "[data]") {
  const ByteTokenizer bytes;
  const auto turns = [](const std::string& first, const std::string& last) {
    return json::parse(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b")" + first +
                       R"(},{"role":"user","content":"c"},{"role":"assistant","content":"d")" + last + "}]}");
  };
  const auto shown = [&](const std::string& first, const std::string& last) {
    Counts counts;
    const auto out =
        render_demonstrations(in_memory({parse_demonstration(turns(first, last), counts).value()}), ChatFormat::llama2, bytes, {});
    return bytes.show(out.sequences.at(0));
  };
  const std::string all = "<s>[INST] a [/INST]{ b </s>}<s>[INST] c [/INST]{ d </s>}";
  CHECK(shown("", "") == all);
  CHECK(shown(R"(,"weight":1)", R"(,"weight":null)") == all);
  CHECK(shown(R"(,"weight":0)", R"(,"weight":1)") == "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]{ d </s>}");
  CHECK(shown("", R"(,"weight":0)") == "<s>[INST] a [/INST]{ b </s>}<s>[INST] c [/INST] d </s>");

  Counts counts;
  CHECK_FALSE(parse_demonstration(turns(R"(,"weight":0)", R"(,"weight":0)"), counts));
  CHECK(to_line(counts) == "kept 0, dropped 1 (weight_0 1), truncated 0");
  for (const char* wrong : {R"(,"weight":0.5)", R"(,"weight":2)", R"(,"weight":"0")", R"(,"weight":false)"})
    CHECK_THROWS_WITH(parse_demonstration(turns(wrong, ""), counts),
                      ContainsSubstring("\"weight\" of message 2 of \"messages\" must be 0 (context alone) or 1 (learned)"));
  CHECK_THROWS_WITH(
      parse_demonstration(json::parse(R"({"messages":[{"role":"user","content":"a","weight":0},{"role":"assistant","content":"b"}]})"),
                          counts),
      ContainsSubstring("message 1 of \"messages\" has a \"weight\", which only an assistant turn may have"));

  // Shortening may take the learned answer away.
  const auto out = render_demonstrations(in_memory({parse_demonstration(turns("", R"(,"weight":0)"), counts).value()}), ChatFormat::llama2,
                                         bytes, {.max_tokens = 25, .drop_oldest_turns = true});
  CHECK(out.sequences.empty());
  CHECK(to_line(out.counts) == "kept 0, dropped 1 (weight_0 1), truncated 1 (oldest_turns 1)");
}

TEST_CASE("demonstrations: a dialogue that does not fit is dropped, or loses its oldest exchanges on request; both are counted", "[data]") {
  const ByteTokenizer bytes;
  const auto set = in_memory({{{{{"user", "one"}, {"assistant", "1"}, {"user", "two"}, {"assistant", "2"}}}, ""},
                              {{{{"user", std::string(50, 'u')}, {"assistant", "3"}}}, ""}});
  const auto dropped = render_demonstrations(set, ChatFormat::llama2, bytes, {.max_tokens = 30});
  CHECK(dropped.sequences.empty());
  CHECK(to_line(dropped.counts) == "kept 0, dropped 2 (over_long 2), truncated 0");
  const auto shortened = render_demonstrations(set, ChatFormat::llama2, bytes, {.max_tokens = 30, .drop_oldest_turns = true});
  REQUIRE(shortened.sequences.size() == 1);
  CHECK(bytes.show(shortened.sequences[0]) == "<s>[INST] two [/INST]{ 2 </s>}");
  CHECK(to_line(shortened.counts) == "kept 1, dropped 1 (over_long 1), truncated 1 (oldest_turns 1)");
}

TEST_CASE("demonstrations: long text is cut into pieces of which none is lost", "[data]") {
  const ByteTokenizer bytes;
  const auto out = render_demonstrations(in_memory({{{}, "abcdefgh"}}), ChatFormat::none, bytes, {.max_tokens = 4});
  REQUIRE(out.sequences.size() == 3);  // BOS + 8 bytes + EOS
  CHECK(bytes.show(out.sequences[0]) == "<s>{abc}");
  CHECK(bytes.show(out.sequences[1]) == "{defg}");
  CHECK(bytes.show(out.sequences[2]) == "{h</s>}");
  CHECK(to_line(out.counts) == "kept 1, dropped 0, truncated 1 (pieces 1)");
  CHECK_THROWS_AS(render_demonstrations(in_memory({}), ChatFormat::none, bytes, {.max_tokens = 0}), keel::core::UsageError);
}
