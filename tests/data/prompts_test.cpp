#include "data/prompts.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::core::DataError;
using keel::core::Dialogue;
using keel::core::Ids;
using keel::data::answered_dialogue;
using keel::data::answered_sequence;
using keel::data::ChatFormat;
using keel::data::held_out;
using keel::data::parse_prompt_record;
using keel::data::prompt_ids;
using keel::data::PromptRecord;
using keel::data::read_prompts;
using keel::data::TagPolicy;
using keel::test::ByteTokenizer;
using nlohmann::json;

namespace {

PromptRecord record(const std::string& row) {
  return parse_prompt_record(json::parse(row));
}

std::string decoded(const Ids& ids) {
  const ByteTokenizer bytes;
  return bytes.show({ids, std::vector<bool>(ids.size(), false)});
}

}  // namespace

TEST_CASE("prompts: raw text keeps its tags and gets the tokenizer's BOS, messages are rendered, ids are used as they are", "[data]") {
  const ByteTokenizer bytes;
  CHECK(decoded(prompt_ids(record(R"({"prompt":"[INST] x","extra":1})"), ChatFormat::llama2, bytes)) == "<s>[INST] x");
  CHECK(decoded(prompt_ids(record(R"({"prompt":"x"})"), ChatFormat::llama2, bytes, TagPolicy::refuse, false)) == "x");
  CHECK(decoded(prompt_ids(record(R"({"messages":[{"role":"user","content":"x"}]})"), ChatFormat::llama2, bytes)) == "<s>[INST] x [/INST]");
  CHECK(decoded(prompt_ids(record(R"({"prompt":[{"role":"user","content":"x"}]})"), ChatFormat::hh, bytes)) ==
        "<s>\n\nHuman: x\n\nAssistant:");
  CHECK(prompt_ids(record(R"({"ids":[5,0,257]})"), ChatFormat::llama2, bytes) == Ids{5, 0, 257});
  CHECK_THROWS_AS(
      prompt_ids(record(R"({"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}]})"), ChatFormat::hh, bytes),
      std::invalid_argument);
  CHECK_THROWS_AS(prompt_ids(record(R"({"messages":[{"role":"user","content":"[INST]"}]})"), ChatFormat::llama2, bytes),
                  std::invalid_argument);
}

TEST_CASE("prompts: an answer is rendered as training renders it, and the mask is true on it alone", "[data]") {
  const ByteTokenizer bytes;
  const auto show = [&](const std::string& row, ChatFormat format) { return bytes.show(answered_sequence(record(row), format, bytes)); };
  CHECK(show(R"({"prompt":"x","response":"y"})", ChatFormat::llama2) == "<s>[INST] x [/INST]{ y </s>}");
  CHECK(show(R"({"prompt":"\n\nHuman: x\n\nAssistant:","response":" y"})", ChatFormat::hh) == "<s>\n\nHuman: x\n\nAssistant:{ y</s>}");
  const std::string turns = R"({"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"})";
  CHECK(show("{\"messages\":[" + turns + ",{\"role\":\"assistant\",\"content\":\"d\"}]}", ChatFormat::hh) ==
        "<s>\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:{ d</s>}");
  CHECK(show("{\"messages\":[" + turns + "],\"response\":\"d\"}", ChatFormat::hh) ==
        "<s>\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:{ d</s>}");
  CHECK(show(R"({"ids":[97,98,99]})", ChatFormat::none) == "a{bc}");
  CHECK(show(R"({"ids":[]})", ChatFormat::none) == "");
  CHECK_THROWS_AS(show(R"({"prompt":"x"})", ChatFormat::llama2), std::invalid_argument);
  CHECK_THROWS_AS(show("{\"messages\":[" + turns + "]}", ChatFormat::hh), std::invalid_argument);
}

TEST_CASE("prompts: a row that ends with an answer is one dialogue, however it is written", "[data]") {
  const auto dialogue = [](const std::string& row) { return answered_dialogue(record(row)); };
  const Dialogue turns{{{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}}};
  const std::string first = R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"})";
  CHECK(dialogue("{" + first + R"(,{"role":"assistant","content":"d"}]})") == turns);
  CHECK(dialogue("{" + first + R"(],"response":"d"})") == turns);
  CHECK(dialogue(R"({"prompt":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:","response":" d "})") == turns);
  CHECK(dialogue(R"({"prompt":"a","response":" d "})") == Dialogue{{{"user", "a"}, {"assistant", " d "}}});
  for (const auto& [row, message] : std::vector<std::pair<std::string, std::string>>{
           {"{" + first + R"(,{"role":"assistant","content":"d"}],"response":"e"})", "end with an answer already"},
           {"{" + first + "]}", "there is no answer"},
           {R"({"prompt":"a"})", "needs a \"response\""},
           {R"({"prompt":"\n\nAssistant: a\n\nHuman: b","response":"c"})", "message 1 must be user"},
           {R"({"ids":[1]})", "hold no text"}}) {
    INFO(row);
    CHECK_THROWS_WITH(dialogue(row), Catch::Matchers::ContainsSubstring(message));
  }
}

TEST_CASE("prompts: a file keeps its order and its lines; another key may name the text", "[data]") {
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "rows.jsonl", "{\"text\":\"a\"}\n\n{\"ids\":[1]}\n");
  const auto set = read_prompts(folder / "rows.jsonl", "text");
  REQUIRE(set.records.size() == 2);
  CHECK(set.records[0].text == "a");
  CHECK(set.records[1].ids == Ids{1});
  CHECK(set.records[1].line == 3);
}

TEST_CASE("prompts: a malformed row is an error with file and line", "[data]") {
  const auto [row, says] = GENERATE(table<std::string, std::string>({
      {R"({})", "exactly one"},
      {R"({"text":"x"})", "exactly one"},
      {R"({"prompt":"x","ids":[1]})", "exactly one"},
      {R"({"prompt":7})", "\"prompt\""},
      {R"({"ids":"1"})", "\"ids\""},
      {R"({"ids":[1,-1]})", "-1"},
      {R"({"ids":[1.0]})", "1.0"},
      {R"({"ids":[true]})", "true"},
      {R"({"ids":[4294967296]})", "4294967296"},
      {R"({"ids":[18446744073709551615]})", "18446744073709551615"},
      {R"({"messages":[{"role":"assistant","content":"x"}]})", "message 1 must be user"},
      {R"({"prompt":"x","response":1})", "\"response\""},
      {R"({"prompt":"x","hazard":"yes"})", "\"hazard\" must be true or false, got \"yes\""},
  }));
  const keel::test::TemporaryFolder folder;
  keel::test::write_text(folder / "rows.jsonl", "{\"ids\":[1]}\n" + row);
  CHECK_THROWS_AS(read_prompts(folder / "rows.jsonl"), DataError);
  CHECK_THROWS_WITH(read_prompts(folder / "rows.jsonl"),
                    Catch::Matchers::ContainsSubstring("rows.jsonl:2") && Catch::Matchers::ContainsSubstring(says));
}

TEST_CASE("prompts: null is absent in every column", "[data]") {
  const auto read = record(R"({"prompt":"x","messages":null,"ids":null,"response":null,"hazard":null,"source":null,"family":null})");
  CHECK(read.text == "x");
  CHECK_FALSE(read.messages);
  CHECK_FALSE(read.ids);
  CHECK_FALSE(read.response);
  CHECK_FALSE(read.hazard);
  CHECK(read.source.empty());
  CHECK(record(R"({"prompt":null,"messages":[{"role":"user","content":"x"}]})").messages);
  CHECK(record(R"({"prompt":null,"messages":null,"ids":[1]})").ids);
  CHECK_THROWS_WITH(record(R"({"prompt":null,"messages":null})"), Catch::Matchers::ContainsSubstring("exactly one of"));
}

TEST_CASE("prompts: a prompt about safety says so", "[data]") {
  CHECK(record(R"({"prompt":"x","hazard":true})").hazard);
  CHECK_FALSE(record(R"({"prompt":"x","hazard":false})").hazard);
  CHECK_FALSE(record(R"({"prompt":"x"})").hazard);
}

TEST_CASE("held out: one conversation stays on one side at every depth, under every system turn", "[data]") {
  int64_t held = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string opening = "question " + std::to_string(i);
    const Dialogue first = {{{"user", opening}}};
    const Dialogue deeper = {{{"system", "s"}, {"user", " " + opening}, {"assistant", "a"}, {"user", "and?"}}};
    CHECK(held_out(first, 0.1, 7) == held_out(deeper, 0.1, 7));
    held += held_out(first, 0.1, 7) ? 1 : 0;
  }
  CHECK(std::abs(held - 200) < 67);  // 5 standard deviations of a binomial(2000, 0.1)
}

TEST_CASE("held out: a share of 0 or 1 is exact, a larger share holds the smaller one, the seed changes the choice", "[data]") {
  int differs = 0;
  for (int i = 0; i < 200; ++i) {
    const Dialogue prompt = {{{"user", std::to_string(i)}}};
    CHECK_FALSE(held_out(prompt, 0, 1));
    CHECK(held_out(prompt, 1, 1));
    if (held_out(prompt, 0.2, 1)) CHECK(held_out(prompt, 0.5, 1));
    differs += held_out(prompt, 0.5, 1) != held_out(prompt, 0.5, 2) ? 1 : 0;
  }
  CHECK(differs > 50);
}
