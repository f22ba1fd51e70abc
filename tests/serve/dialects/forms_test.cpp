// Bodies as text, and what several dialects read alike: texts in parts, models, tokens.
#include <cmath>
#include <limits>

#include "core/json.h"
#include "serve/dialects/body.h"
#include "serve/dialects/content.h"
#include "serve/dialects/dialects.h"
#include "support/test_plain.h"

namespace keel::serve::dialects {
namespace {

using Catch::Matchers::ContainsSubstring;
using Json = nlohmann::json;
using Read = Asked (*)(const Json&);

Asked asked(Read read, const std::string& body) {
  return read(core::parse_json(body, "test"));
}

std::string refused(Read read, const std::string& body) {
  try {
    asked(read, body);
  } catch (const Refused& refusal) {
    return refusal.what();
  }
  return "";
}

Scored scored(size_t texts) {
  Scored all{.model = "m", .digest = "d", .id = "42", .created = 7, .scores = {}};
  for (size_t i = 0; i < texts; ++i)
    all.scores.push_back({.raw = static_cast<double>(i) - 1, .tokens = 3});
  return all;
}

constexpr const char* kHi = R"([{"type": "text", "text": "h"}, {"type": "text", "text": "i"}])";

std::string with_hi(std::string body) {  // HI stands for the parts
  for (size_t at = body.find("HI"); at != std::string::npos; at = body.find("HI"))
    body.replace(at, 2, kHi);
  return body;
}

}  // namespace

TEST_CASE("bodies: floats are written as floats, whole ones too, and all else as core::dump_json() has it", "[serve]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Json value = {{"a", {1.0, 0.0, -0.0, -3.0, 0.1, 1e30, 1e-7, nan, 123456789.0}}, {"b", {1, true, nullptr, "x\"\n", Json::object()}}};
  CHECK(reply_body(value) == R"({"a":[1.0,0.0,-0.0,-3.0,0.1,1e+30,1e-07,null,123456789.0],"b":[1,true,null,"x\"\n",{}]})");
  CHECK(reply_body(1.0) == "1.0");
  CHECK(reply_body("1") == "\"1\"");
  for (const auto& [read, body] :
       std::vector<std::pair<Read, const char*>>{{trainer_request, R"({"query": ["a", "b", "c"]})"},
                                                 {llama_factory_request, R"({"messages": ["a", "b", "c"]})"},
                                                 {classify_request, R"({"input": ["a", "b", "c"]})"},
                                                 {classify_request, R"({"text": ["a", "b", "c"]})"},
                                                 {pooling_request, R"({"input": ["a", "b", "c"]})"},
                                                 {embeddings_request, R"({"input": ["a", "b", "c"]})"},
                                                 {score_request, R"({"text_1": "q", "text_2": ["a", "b", "c"]})"},
                                                 {rerank_request, R"({"query": "q", "documents": ["a", "b", "c"]})"},
                                                 {reward_request, R"({"inputs": [{"text": "a"}, {"text": "b"}, {"text": "c"}]})"}}) {
    INFO(body);
    CHECK_THAT(reply_body(asked(read, body).reply(scored(3))), ContainsSubstring("-1.0") && ContainsSubstring("0.0"));
  }
}

TEST_CASE("bodies: nested 32 deep at most, brackets in strings aside", "[serve]") {
  const auto nested = [](size_t depth) { return "{\"a\":" + std::string(depth - 1, '[') + std::string(depth - 1, ']') + "}"; };
  CHECK_NOTHROW(parse_body(nested(32)));
  CHECK_THROWS_WITH(parse_body(nested(33)), ContainsSubstring("32 deep"));
  CHECK_THROWS_AS(parse_body(std::string(100'000, '[')), Refused);
  CHECK_NOTHROW(parse_body("{\"a\":\"\\\"" + std::string(100, '[') + "\\\\\"}"));
  CHECK_THROWS_AS(parse_body("{\"a\":\"\\\\\"," + nested(33).substr(1)), Refused);
}

TEST_CASE("bodies: a text that would be repeated for each of a list counts as often, in whatever form it comes", "[serve]") {
  const std::string big = "\"" + std::string(1 << 20, 'q') + "\"";
  std::string many = "[\"a\"";
  for (int i = 0; i < 99; ++i)
    many += ",\"a\"";
  many += "]";
  for (const std::string& one :
       {big, "[" + big + "]", "{\"text\":" + big + "}", "{\"content\":[{\"type\":\"text\",\"text\":" + big + "}]}"}) {
    for (const char* name : {"query", "text_1", "queries", "data_1"})
      CHECK_THROWS_AS(check_lengths(parse_body("{\"" + std::string(name) + "\":" + one + ",\"texts\":" + many + "}"), 4096), Refused);
    CHECK_NOTHROW(check_lengths(parse_body("{\"other\":" + one + ",\"texts\":" + many + "}"), 4096));
  }
}

TEST_CASE("content parts: text parts stand wherever a text does, joined by line breaks; other parts are refused by name", "[serve]") {
  const std::string dialogue = with_hi(R"([{"role": "user", "content": HI}, {"role": "assistant", "content": "a", "weight": 2}])");
  const core::Dialogue expected{{{"user", "h\ni"}, {"assistant", "a"}}};
  CHECK(content<core::Dialogue>(asked(classify_request, "{\"messages\": " + dialogue + "}")) == expected);
  CHECK(content<core::Dialogue>(asked(reward_request, "{\"inputs\": [" + dialogue + "]}")) == expected);
  CHECK(content<core::Dialogue>(asked(reward_request, "{\"conversations\": [" + dialogue + "]}")) == expected);
  CHECK(content<core::Dialogue>(asked(trainer_request, with_hi(R"({"prompt": [{"role": "user", "content": HI}], "response": "a"})"))) ==
        expected);
  CHECK(content<RenderedPrompt>(asked(trainer_request, with_hi(R"({"prompt": HI, "response": HI})"))).prompt == "h\ni");
  CHECK(content<RenderedText>(asked(trainer_request, with_hi(R"({"query": ["a", HI]})")), 1).text == "h\ni");
  CHECK(content<RenderedText>(asked(llama_factory_request, with_hi(R"({"messages": [HI]})"))).text == "h\ni");
  for (const char* input : {"HI", "[HI]"}) {
    const Asked one = asked(classify_request, with_hi("{\"input\": " + std::string(input) + "}"));
    CHECK((one.items.size() == 1 && content<PlainText>(one).text == "h\ni"));
    CHECK(content<PlainText>(asked(predict_request, with_hi("{\"inputs\": " + std::string(input) + "}"))).text == "h\ni");
  }
  CHECK(content<PromptAndAnswer>(asked(predict_request, with_hi(R"({"inputs": [HI, "a"]})"))).prompt == "h\ni");
  CHECK(content<PromptAndAnswer>(asked(reward_request, with_hi(R"({"prompt": HI, "response": "a"})"))).prompt == "h\ni");
  for (const char* side : {"HI", "[HI]", R"({"content": HI})", R"([{"content": HI}])", R"({"text": HI})"}) {
    const Asked pair = asked(score_request, with_hi("{\"text_1\": " + std::string(side) + ", \"text_2\": " + side + "}"));
    CHECK((content<PromptAndAnswer>(pair).prompt == "h\ni" && content<PromptAndAnswer>(pair).answer == "h\ni"));
  }
  CHECK(content<PromptAndAnswer>(asked(rerank_request, with_hi(R"({"query": HI, "documents": ["a", {"content": HI}]})")), 1).answer ==
        "h\ni");
  CHECK(content<PromptAndAnswer>(asked(tei_rerank_request, with_hi(R"({"query": HI, "texts": [HI]})"))).answer == "h\ni");

  const std::string image = R"([{"type": "text", "text": "h"}, {"type": "image_url", "image_url": {"url": "SECRET"}}])";
  CHECK_THAT(
      refused(classify_request, R"({"messages": [{"role": "user", "content": )" + image + R"(}, {"role": "assistant", "content": "a"}]})"),
      ContainsSubstring("\"image_url\"") && !ContainsSubstring("SECRET"));
  CHECK_THAT(refused(score_request, R"({"text_1": "q", "text_2": )" + image + "}"), ContainsSubstring("\"image_url\""));
  for (const char* bad : {R"({"input": [{"type": "SECRET"}]})", R"({"input": [{"type": 1}]})", R"({"input": [{"type": "text"}]})",
                          R"({"input": [{"type": "text", "text": ["SECRET"]}]})", R"({"input": [{"type": "text", "text": "a"}, "SECRET"]})",
                          R"({"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "a"}]})"}) {
    INFO(bad);
    CHECK_THAT(refused(classify_request, bad), !ContainsSubstring("SECRET") && !Catch::Matchers::Equals(""));
  }
}

TEST_CASE("models: TEI's and LLaMA-Factory's forms read a name that may be none of the service's", "[serve]") {
  for (const auto& [read, body] :
       std::vector<std::pair<Read, std::string>>{{predict_request, R"({"inputs": "a", "model": M})"},
                                                 {tei_rerank_request, R"({"query": "q", "texts": ["a"], "model": M})"},
                                                 {tei_tokenize_request, R"({"inputs": "a", "model": M})"},
                                                 {llama_factory_request, R"({"messages": ["a"], "model": M})"},
                                                 {trainer_request, R"({"messages": ["a"], "model": M})"}}) {
    std::string text = body, number = body;
    const Asked one = asked(read, text.replace(text.find('M'), 1, "\"safety\""));
    CHECK((one.model == "safety" && one.model_optional));
    CHECK(asked(read, number.replace(number.find('M'), 1, "7")).model.empty());
  }
  CHECK_FALSE(asked(classify_request, R"({"input": "a", "model": "safety"})").model_optional);
}

TEST_CASE("vLLM: members about the chat template mean nothing beside a plain input", "[serve]") {
  for (const char* more : {R"("chat_template_kwargs": {"enable_thinking": false})", R"("chat_template": "x")",
                           R"("add_generation_prompt": true)", R"("continue_final_message": true)"})
    for (const auto read : {classify_request, pooling_request, embeddings_request})
      CHECK(content<PlainText>(asked(read, R"({"input": "a", )" + std::string(more) + "}")).text == "a");
}

TEST_CASE("/v1/reward: conversations, pairs and input are lists of inputs, too, and replies have the members of that form", "[serve]") {
  const Asked pairs =
      asked(reward_request, R"({"pairs": [{"prompt": "q", "response": "a", "hazard": true}, {"prompt": "r", "response": "b"}],
                                                "return": ["raw", "logit", "sigmoid", "per_model"]})");
  CHECK((content<PromptAndAnswer>(pairs, 1).prompt == "r" && pairs.items[0].hazard && !pairs.with_tokens));
  Scored two = scored(2);
  two.timings = {.tokenization = 1, .queue = 2, .inference = 3, .total = 6};
  const Json reply = pairs.reply(two);
  CHECK(reply["usage"] == Json({{"prompt_tokens", 6}, {"total_tokens", 6}, {"completion_tokens", 0}, {"prompt_tokens_details", nullptr}}));
  CHECK(reply["timings"] == Json({{"tokenization_ms", 1.0}, {"queue_ms", 2.0}, {"inference_ms", 3.0}, {"total_ms", 6.0}}));
  for (const char* name : {"score", "reward", "raw", "logit"})
    CHECK(reply["data"][0][name] == -1.0);
  CHECK(reply["data"][1]["sigmoid"] == 0.5);
  CHECK(asked(reward_request, R"({"text": "a", "return": ["tokens"]})").with_tokens);
  for (const auto& [input, items] :
       std::vector<std::pair<const char*, size_t>>{{"\"x\"", 1}, {R"(["x", "y"])", 2}, {"[5, 6]", 1}, {"[[5], [6, 7]]", 2}, {"[]", 0}}) {
    const Asked plain = asked(reward_request, "{\"input\": " + std::string(input) + "}");
    CHECK(plain.items.size() == items);
    CHECK(plain.reply(scored(items))["data"].size() == items);
  }
  CHECK(content<core::Ids>(asked(reward_request, R"({"input": [5, 6]})")) == core::Ids{5, 6});
  CHECK_THAT(refused(reward_request, R"({"inputs": [{"text": "x", "model": "safety"}]})"), ContainsSubstring("\"model\""));
  CHECK_THAT(refused(reward_request, R"({"inputs": [{"text": "x"}], "text": "y"})"), ContainsSubstring("\"inputs\" and \"text\""));
  CHECK_THAT(refused(logprobs_request, R"({"inputs": [{"ids": [1, 2], "overlong": "refuse"}]})"), ContainsSubstring("\"overlong\""));
  CHECK_FALSE(refused(logprobs_request, R"({"pairs": [{"prompt": "q", "response": "a"}]})").empty());
}

TEST_CASE("/tokenize: TEI's tokens with their places, vLLM's ids", "[serve]") {
  Scored one = scored(1);
  one.most_tokens = 96;
  one.scores[0].listed = {{.id = 1, .text = "<s>", .special = true}, {.id = 50, .text = "hi", .begin = 0, .end = 2}};
  const Asked tei = asked(tei_tokenize_request, R"({"inputs": "hi", "add_special_tokens": false})");
  CHECK((tei.lists_tokens && !content<PlainText>(tei).bos && tei.most_items == 32));
  CHECK(tei.reply(one) == core::parse_json(R"([[{"id": 1, "text": "<s>", "special": true, "start": null, "stop": null},
                                               {"id": 50, "text": "hi", "special": false, "start": 0, "stop": 2}]])",
                                           "test"));
  CHECK(asked(tei_tokenize_request, R"({"inputs": ["a", "b"]})").items.size() == 2);
  const Asked prompt = asked(tokenize_request, R"({"model": "m", "prompt": "hi"})");
  CHECK((prompt.model == "m" && content<PlainText>(prompt).bos));
  CHECK(prompt.reply(one) == core::parse_json(R"({"count": 2, "max_model_len": 96, "tokens": [1, 50], "token_strs": null})", "test"));
  CHECK(asked(tokenize_request, R"({"prompt": "hi", "return_token_strs": true})").reply(one)["token_strs"] == Json({"<s>", "hi"}));
  const Asked chat = asked(tokenize_request, R"({"messages": [{"role": "user", "content": "q"}], "add_generation_prompt": true})");
  CHECK(content<core::Dialogue>(chat).messages.size() == 1);
  for (const auto& [read, bad] : std::vector<std::pair<Read, const char*>>{{tei_tokenize_request, R"({"inputs": []})"},
                                                                           {tei_tokenize_request, R"({"inputs": ""})"},
                                                                           {tei_tokenize_request, R"({"inputs": 5})"},
                                                                           {tokenize_request, "{}"},
                                                                           {tokenize_request, R"({"prompt": 5})"},
                                                                           {tokenize_request, R"({"messages": []})"}})
    CHECK_FALSE(refused(read, bad).empty());
}

}  // namespace keel::serve::dialects
