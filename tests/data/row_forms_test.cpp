#include "data/row_forms.h"

#include <nlohmann/json.hpp>

#include "support/byte_tokenizer.h"
#include "support/test_plain.h"

using keel::data::ChatFormat;
using keel::data::formed_row;
using keel::data::FormedRow;
using keel::data::TagPolicy;
using nlohmann::json;

namespace {

FormedRow row(const char* text) {
  return formed_row(json::parse(text));
}

std::vector<std::string> shown(const FormedRow& formed, const ChatFormat& format = ChatFormat::llama2) {
  const keel::test::ByteTokenizer tokenizer;
  std::vector<std::string> all;
  for (const auto& sequence : rendered_row(formed, format, tokenizer, TagPolicy::refuse))
    all.push_back(tokenizer.show(sequence));
  return all;
}

}  // namespace

TEST_CASE("row forms: instructions with an output are demonstrations, of several instances the first", "[data]") {
  const auto alpaca = keel::data::formed_row({{"instruction", "Add."}, {"input", "1 1"}, {"output", "2"}});
  CHECK((alpaca.form == "demonstration" && alpaca.dialogue.messages.front().content == "Add.\n\n1 1"));
  const auto several = keel::data::formed_row({{"id", "seed_task_0"},
                                               {"name", "add"},
                                               {"instruction", "Add."},
                                               {"instances", {{{"input", "1 1"}, {"output", "2"}}, {{"input", "2 2"}, {"output", "4"}}}}});
  CHECK((several.form == "demonstration" && several.dialogue.messages.back().content == "2"));
}

TEST_CASE("row forms: every form of the formats page is told by its own name", "[data]") {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {R"({"prompt":"a","chosen":"b","rejected":"c"})", "preference pair"},
      {R"({"chosen":"\n\nHuman: a\n\nAssistant: b","rejected":"\n\nHuman: a\n\nAssistant: c"})", "preference pair"},
      {R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]})", "demonstration"},
      {R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"instruction":"x","dialogue":0})",
       "demonstration"},
      {R"({"prompt":"a","completion":"b"})", "demonstration"},
      {R"({"text":"a"})", "document"},
      {R"({"messages":[{"role":"user","content":"a"}]})", "prompt"},
      {R"({"prompt":"a","hazard":true})", "prompt"},
      {R"({"prompt":[{"role":"user","content":"a"}]})", "prompt"},
      {R"({"prompt":"a","response":"b"})", "answer"},
      {R"({"ids":[1,2]})", "ids"},
      {R"({"index":0,"sample":0,"ids":[1,2],"text":"a","logprobs":[-1,-2]})", "ids"},
      {R"({"id":1,"model":"m","person":"ann","rating":5})", "rating"},
      {R"({"id":1,"model":"m","person":"ann","rating":null})", "rating"},
      {R"({"id":1,"model":"m","ratings":[1,2]})", "rating"},
      {R"({"prompt":"a","response":"b","label":"full_refusal"})", "labelled answer"},
      {R"({"id":1,"kind":"safety","messages":[{"role":"user","content":"a"}],"answers":[{"text":"x"},{"text":"y"}]})", "comparison"},
      {R"({"text":"Be a pirate.","short":"Pirate."})", "instruction"},
      {R"({"kind":"figure","value":"Napoleon"})", "instruction"},
      {R"({"text":"You are a {adjective} assistant.","category":"illicit"})", "preprompt"},
      {R"({"kind":"turn","attempt":0,"role":"user","content":"a"})", "red-team event"},
      {R"({"score":0.1,"probability":0.5})", "score"},
      {R"({"step":1,"loss":2})", "metrics"},
      {R"({"time":"2024-01-01T00:00:00Z","event":"started","stage":"sft"})", "event"}};
  for (const auto& [text, form] : cases) {
    INFO(text);
    CHECK(row(text).form == form);
    CHECK(row(text).dropped.empty());
  }
  CHECK_THROWS_WITH(row(R"({"a":1,"b":null})"), "the row is of no form that keel reads; it has: a");
  CHECK_THROWS_WITH(row(R"({"prompt":"a","chosen":1,"rejected":2})"), Catch::Matchers::ContainsSubstring("\"chosen\" must be text"));
}

TEST_CASE("row forms: what commands drop says why", "[data]") {
  CHECK(row(R"({"prompt":"a","chosen":"b","rejected":" b"})").dropped == "identical_answers");
  CHECK(row(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":" "}]})").dropped == "empty_answer");
}

TEST_CASE("row forms: lengths count characters, a pair's prompt once", "[data]") {
  CHECK(characters(row(R"({"prompt":"abc","chosen":"\u20ac","rejected":"de"})")) == 6);
  CHECK(characters(row(R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"ab"}]})")) == 3);
  CHECK(characters(row(R"({"text":"\u00e9t"})")) == 2);
}

TEST_CASE("row forms: rows are rendered as their commands do, with the loss where they put it", "[data]") {
  using Texts = std::vector<std::string>;
  CHECK(shown(row(R"({"prompt":"a","chosen":"b","rejected":"c"})")) ==
        Texts{"<s>[INST] a [/INST]{ b </s>}", "<s>[INST] a [/INST]{ c </s>}"});
  CHECK(shown(row(R"({"prompt":"a"})")) == Texts{"<s>[INST] a [/INST]"});
  CHECK(shown(row(R"({"prompt":"a"})"), ChatFormat::none) == Texts{"<s>a"});
  CHECK(shown(row(R"({"text":"a"})")) == Texts{"<s>{a</s>}"});
  CHECK(shown(row(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0},
                      {"role":"user","content":"c"},{"role":"assistant","content":"d"}]})")) ==
        Texts{"<s>[INST] a [/INST] b </s><s>[INST] c [/INST]{ d </s>}"});
  CHECK(shown(row(R"({"id":1,"model":"m","rating":5})")).empty());
  CHECK_THROWS_AS(shown(row(R"({"prompt":"[INST]"})")), std::invalid_argument);
}
