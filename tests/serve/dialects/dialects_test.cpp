// The published contracts of the clients, as requests and the replies that they read.
#include "serve/dialects/dialects.h"

#include "core/json.h"
#include "serve/dialects/content.h"
#include "support/test_plain.h"

namespace keel::serve::dialects {
namespace {

using Catch::Matchers::ContainsSubstring;
using Json = nlohmann::json;
using Read = Asked (*)(const Json&);

Json json(const std::string& text) {
  return core::parse_json(text, "test");
}

// Raw scores 0.1, 2, -1 (as float32) of 3, 4 and 5 tokens, for as many items as were asked.
Scored scored(const Asked& asked, const std::string& model = "helpfulness") {
  static const std::vector<double> raw = {0.1F, 2, -1};
  Scored result{.model = model, .digest = "d", .id = "42", .created = 7, .gate = 0.15, .metadata = {}, .scores = {}};
  for (size_t i = 0; i < asked.items.size(); ++i) {
    Score score{.raw = raw[i % 3], .tokens = static_cast<int64_t>(3 + i)};
    if (model == "combined") score.combined = {.helpfulness = 0.5, .safety = raw[i % 3], .safety_decides = i % 2 == 0};
    result.scores.push_back(score);
  }
  return result;
}

Json reply_to(Read read, const std::string& body, const std::string& model = "helpfulness") {
  const Asked asked = read(json(body));
  return asked.reply(scored(asked, model));
}

int status_of_bad(Read read, const std::string& body, Family family = Family::vllm) {
  try {
    read(json(body));
  } catch (const Refused& refused) {
    INFO(refused.what());
    CHECK_THAT(refused.what(), !ContainsSubstring("SECRET"));
    return status_of(refused.trouble, family);
  }
  return 200;
}

const double kSigmoidOfTwo = 0.8807970779778823;

}  // namespace

TEST_CASE("OpenRLHF: rewards, scores in 0..1, and extra_logs whose names never change", "[serve]") {
  CHECK(reply_to(trainer_request, R"({"query": ["a", "b"], "prompts": ["p", "q"], "labels": ["x", null]})") ==
        json(R"({"rewards": [0.1, 2.0], "scores": [0.5249791878505392, 0.8807970779778823], "extra_logs": {}})"));
  CHECK(reply_to(trainer_request, R"({"query": []})") == json(R"({"rewards": [], "scores": [], "extra_logs": {}})"));
  CHECK(reply_to(trainer_request, R"({"query": []})", "combined")["extra_logs"] ==
        json(R"({"helpfulness": [], "safety": [], "safety_decides": []})"));
  CHECK(reply_to(trainer_request, R"({"query": ["a", "b"]})", "combined")["extra_logs"] ==
        json(R"({"helpfulness": [0.5, 0.5], "safety": [0.1, 2.0], "safety_decides": [1.0, 0.0]})"));
  const Asked asked =
      trainer_request(json(R"({"query": ["<s>a</s>", "b", "c"], "labels": [{"is_safety": true}, {"is_safety": false}, "safety"]})"));
  CHECK(content<RenderedText>(asked).text == "<s>a</s>");
  CHECK((asked.items[0].hazard && !asked.items[1].hazard && !asked.items[2].hazard));
  for (const char* bad : {R"({"query": 1})", R"({"query": [1]})", R"({"query": ["SECRET", 2]})", R"({"query": null})", R"({})",
                          R"({"query": ["a"], "labels": [1, 2]})"})
    CHECK(status_of_bad(trainer_request, bad) == 400);
}

TEST_CASE("slime: the reply is the number itself", "[serve]") {
  CHECK(reply_to(trainer_request, R"({"prompt": "q", "response": "a", "label": 1})") == 0.1);
  const Asked text = trainer_request(json(R"({"prompt": "q", "response": "a"})"));
  CHECK((content<RenderedPrompt>(text).prompt == "q" && content<RenderedPrompt>(text).answer == "a" && text.items[0].decoded));
  const Asked messages =
      trainer_request(json(R"({"prompt": [{"role": "user", "content": "q"}], "response": "a", "label": {"is_safety": true}})"));
  CHECK(content<core::Dialogue>(messages) == core::Dialogue{{{"user", "q"}, {"assistant", "a"}}});
  CHECK(messages.items[0].hazard);
  CHECK(status_of_bad(trainer_request, R"({"prompt": [{"role": "assistant", "content": "SECRET"}], "response": "a"})") == 400);
  CHECK(status_of_bad(trainer_request, R"({"response": "a"})") == 400);
  CHECK(status_of_bad(trainer_request, R"({"prompt": "q", "response": null})") == 400);  // an aborted rollout has no answer
}

TEST_CASE("LLaMA-Factory: scores, at both of its paths", "[serve]") {
  const Json expected = json(R"({"id": "scoreval-42", "object": "score.evaluation", "model": "helpfulness", "scores": [0.1, 2.0]})");
  CHECK(reply_to(trainer_request, R"({"model": "m", "messages": ["a", "b"]})") == expected);
  CHECK(reply_to(llama_factory_request, R"({"model": "m", "messages": ["a", "b"], "max_length": 9})") == expected);
  CHECK(llama_factory_request(json(R"({"messages": ["a"], "max_length": 9})")).max_tokens == 9);
  CHECK(status_of_bad(llama_factory_request, R"({"messages": ["a"], "max_length": 0})") == 400);
}

TEST_CASE("vLLM /classify: probs hold the raw score; verl reads data[-1].probs[-1]", "[serve]") {
  CHECK(reply_to(classify_request, R"({"model": "m", "input": "a", "activation": false})") ==
        json(R"({"id": "classify-42", "object": "list", "created": 7, "model": "helpfulness",
                 "data": [{"index": 0, "label": "score", "probs": [0.1], "num_classes": 1}],
                 "usage": {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0, "prompt_tokens_details": null}})"));
  CHECK(reply_to(classify_request, R"({"input": ["a", "b"], "use_activation": true})")["data"][1]["probs"][0] == kSigmoidOfTwo);
  CHECK(reply_to(classify_request, R"({"input": ["a", "b"], "activation": true})")["data"][1]["probs"][0] == kSigmoidOfTwo);
  CHECK(reply_to(classify_request, R"({"input": ["a", "b"], "activation": true, "use_activation": false})")["data"][1]["probs"][0] == 2.0);
  CHECK(content<core::Ids>(classify_request(json(R"({"input": [5, 6]})"))) == core::Ids{5, 6});
  const Asked lists = classify_request(json(R"({"input": [[5], [6, 7]]})"));
  CHECK((lists.items.size() == 2 && content<core::Ids>(lists, 1) == core::Ids{6, 7}));
  CHECK(content<PlainText>(classify_request(json(R"({"input": "</s>", "unknown": 1, "user": "u"})"))).bos);
  CHECK_FALSE(content<PlainText>(classify_request(json(R"({"input": "a", "add_special_tokens": false})"))).bos);
  const std::string dialogue = R"("messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])";
  CHECK(content<core::Dialogue>(classify_request(json("{" + dialogue + "}"))).messages.size() == 2);
  const Asked cut = classify_request(json(R"({"input": "a", "truncate_prompt_tokens": 5, "truncation_side": "right"})"));
  CHECK((cut.overlong == Overlong::keep_start && cut.max_tokens == 5 && cut.limit_name == "truncate_prompt_tokens"));
  const Asked own = classify_request(json(R"({"input": "a", "truncate_prompt_tokens": -1})"));
  CHECK((own.overlong == Overlong::keep_end && !own.max_tokens));
  CHECK(classify_request(json(R"({"input": "a"})")).overlong == Overlong::own);
  for (const std::string& bad : {std::string(R"({"input": ""})"),
                                 std::string(R"({"input": []})"),
                                 std::string(R"({"input": ["a", ""]})"),
                                 std::string(R"({"input": [[]]})"),
                                 std::string(R"({"input": {"SECRET": 1}})"),
                                 std::string(R"({})"),
                                 std::string(R"({"input": [1, -2]})"),
                                 std::string(R"({"input": [1, 2.5]})"),
                                 std::string(R"({"input": [99999999999]})"),
                                 std::string(R"({"input": "a", "truncate_prompt_tokens": 0})"),
                                 std::string(R"({"input": "a", "truncate_prompt_tokens": -2})"),
                                 std::string(R"({"input": "a", "truncate_prompt_tokens": 1.5})"),
                                 std::string(R"({"input": "a", "truncate_prompt_tokens": 1e30})"),
                                 std::string(R"({"input": "a", "truncation_side": "SECRET"})"),
                                 std::string(R"({"input": [{"type": "image_url", "image_url": {"url": "SECRET"}}]})"),
                                 "{\"chat_template\": \"SECRET\", " + dialogue + "}",
                                 "{\"chat_template_kwargs\": {\"SECRET\": false}, " + dialogue + "}",
                                 "{\"add_generation_prompt\": true, " + dialogue + "}",
                                 std::string(R"({"messages": [{"role": "user", "content": "SECRET"}]})"),
                                 std::string(R"({"messages": [{"role": "SECRET", "content": "a"}]})"),
                                 std::string(R"({"messages": "SECRET"})"),
                                 std::string(R"({"messages": []})"),
                                 std::string(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]})")}) {
    INFO(bad);
    CHECK(status_of_bad(classify_request, bad) == 400);
  }
}

TEST_CASE("SGLang /classify: an array with the reward as an embedding", "[serve]") {
  CHECK(
      reply_to(classify_request, R"({"model": "m", "text": ["a", "b"]})") ==
      json(
          R"([{"embedding": [0.1], "meta_info": {"id": "42", "prompt_tokens": 3}}, {"embedding": [2.0], "meta_info": {"id": "42", "prompt_tokens": 4}}])"));
  CHECK(reply_to(classify_request, R"({"text": "a"})").size() == 1);
  CHECK(status_of_bad(classify_request, R"({"text": []})") == 400);
}

TEST_CASE("vLLM /score: four names of the pair; one text against many, or many against as many", "[serve]") {
  CHECK(reply_to(score_request, R"({"text_1": "q", "text_2": ["a", "b"]})") ==
        json(R"({"id": "score-42", "object": "list", "created": 7, "model": "helpfulness",
                 "data": [{"index": 0, "object": "score", "score": 0.1}, {"index": 1, "object": "score", "score": 2.0}],
                 "usage": {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 0, "prompt_tokens_details": null}})"));
  for (const char* body : {R"({"queries": ["q", "r"], "documents": ["a", "b"]})", R"({"queries": ["q", "r"], "items": ["a", "b"]})",
                           R"({"data_1": ["q", "r"], "data_2": ["a", "b"]})"}) {
    const Asked asked = score_request(json(body));
    REQUIRE(asked.items.size() == 2);
    CHECK((content<PromptAndAnswer>(asked, 1).prompt == "r" && content<PromptAndAnswer>(asked, 1).answer == "b"));
  }
  for (const char* bad : {R"({"text_1": ["q", "r"], "text_2": ["a"]})", R"({"text_1": [], "text_2": []})", R"({"text_1": "q"})",
                          R"({"text_1": "q", "text_2": []})", R"({"text_1": "q", "items": "a"})", R"({"text_1": "", "text_2": "a"})",
                          R"({"text_1": "q", "text_2": ""})", R"({"queries": ["q", ""], "documents": ["a", "b"]})",
                          R"({"text_1": {"SECRET": "q"}, "text_2": "a"})"})
    CHECK(status_of_bad(score_request, bad) == 400);
}

TEST_CASE("/rerank: results by falling score, equal ones by index; top_n 0 is all; TEI's is an array of probabilities", "[serve]") {
  CHECK(reply_to(rerank_request, R"({"model": "m", "query": "q", "documents": ["a", {"text": "b"}, "c"], "top_n": 2})") ==
        json(R"({"id": "rerank-42", "model": "helpfulness", 
                 "usage": {"prompt_tokens": 12, "total_tokens": 12, "completion_tokens": 0, "prompt_tokens_details": null},
                 "results": [{"index": 1, "document": {"text": "b"}, "relevance_score": 2.0}, {"index": 0, "document": {"text": "a"}, "relevance_score": 0.1}]})"));
  const Json all = reply_to(rerank_request, R"({"query": "q", "documents": ["a", "b", "c", "d", "e"], "top_n": 0})")["results"];
  std::vector<int> order;
  for (const Json& row : all)
    order.push_back(row["index"]);
  CHECK(order == std::vector<int>{1, 4, 0, 3, 2});
  CHECK(reply_to(tei_rerank_request, R"({"query": "q", "texts": ["a", "b"], "return_text": true})") ==
        json(R"([{"index": 1, "score": 0.8807970779778823, "text": "b"}, {"index": 0, "score": 0.5249791878505392, "text": "a"}])"));
  CHECK(reply_to(tei_rerank_request, R"({"query": "q", "texts": ["a", "b"], "raw_scores": true})") ==
        json(R"([{"index": 1, "score": 2.0}, {"index": 0, "score": 0.1}])"));
  CHECK(tei_rerank_request(json(R"({"query": "q", "texts": ["a"]})")).most_items == 32);
  for (const char* bad : {R"({"query": "q", "documents": []})", R"({"documents": ["a"]})", R"({"query": "q", "documents": [1]})",
                          R"({"query": "q", "documents": ["a"], "top_n": -1})", R"({"query": "", "documents": ["a"]})",
                          R"({"query": "q", "documents": ["a", ""]})", R"({"query": ["q"], "documents": ["a"]})"})
    CHECK(status_of_bad(rerank_request, bad) == 400);
  CHECK(status_of_bad(tei_rerank_request, R"({"query": "", "texts": ["a"]})", Family::tei) == 200);  // TEI's rule: one of the two
  CHECK(status_of_bad(tei_rerank_request, R"({"query": "", "texts": ["a", ""]})", Family::tei) == 400);
  CHECK(status_of_bad(tei_rerank_request, R"({"texts": ["a"]})", Family::tei) == 422);
}

TEST_CASE("vLLM /pooling and OpenAI's embeddings", "[serve]") {
  CHECK(reply_to(pooling_request, R"({"input": "a", "task": "classify"})")["data"] ==
        json(R"([{"index": 0, "object": "pooling", "data": [0.1]}])"));
  CHECK(status_of_bad(pooling_request, R"({"input": "a", "task": "embed"})") == 400);
  CHECK(status_of_bad(pooling_request, R"({"input": "a", "encoding_format": "base64"})") == 400);
  CHECK(reply_to(embeddings_request, R"({"input": ["a", "b"], "encoding_format": "base64"})")["data"][1]["embedding"] ==
        "AAAAQA==");  // 2.0
  CHECK(reply_to(embeddings_request, R"({"input": "a"})")["data"] == json(R"([{"index": 0, "object": "embedding", "embedding": [0.1]}])"));
}

TEST_CASE("TEI /predict: two strings are one pair; probabilities unless raw_scores", "[serve]") {
  CHECK(reply_to(predict_request, R"({"inputs": "a"})") == json(R"([{"score": 0.5249791878505392, "label": "score"}])"));
  CHECK(reply_to(predict_request, R"({"inputs": ["a"], "raw_scores": true})") == json(R"([{"score": 0.1, "label": "score"}])"));
  const Asked pair = predict_request(json(R"({"inputs": ["q", "a"]})"));
  REQUIRE(pair.items.size() == 1);
  CHECK((content<PromptAndAnswer>(pair).prompt == "q" && content<PromptAndAnswer>(pair).answer == "a"));
  CHECK(reply_to(predict_request, R"({"inputs": [["a"], ["q", "b"]], "raw_scores": true})") ==
        json(R"([[{"score": 0.1, "label": "score"}], [{"score": 2.0, "label": "score"}]])"));
  CHECK(predict_request(json(R"({"inputs": "a", "truncate": false})")).overlong == Overlong::refuse);
  CHECK(predict_request(json(R"({"inputs": "a", "truncate": true})")).overlong == Overlong::keep_start);
  CHECK(predict_request(json(R"({"inputs": "a", "truncate": true, "truncation_direction": "left"})")).overlong == Overlong::keep_end);
  CHECK(status_of_bad(predict_request, R"({"inputs": ""})", Family::tei) == 400);
  CHECK(status_of_bad(predict_request, R"({"inputs": []})", Family::tei) == 400);
  CHECK(status_of_bad(predict_request, R"({"inputs": ["", ""]})", Family::tei) == 400);
  CHECK(status_of_bad(predict_request, R"({"inputs": ["", "a"]})", Family::tei) == 200);  // TEI refuses a pair without any text
  CHECK(status_of_bad(predict_request, R"({})", Family::tei) == 422);
  CHECK(status_of_bad(predict_request, R"({"inputs": ["a", "b", "c"]})", Family::tei) == 422);
  CHECK(status_of_bad(predict_request, R"({"inputs": [["a"], "b"]})", Family::tei) == 422);
  CHECK(status_of_bad(predict_request, R"({"inputs": "a", "truncation_direction": "SECRET"})", Family::tei) == 422);
}

TEST_CASE("/v1/reward: one dialogue or a list; both scores and the gate of a combination", "[serve]") {
  const std::string dialogue = R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])";
  const Json one = reply_to(reward_request, R"({"model": "combined", "messages": )" + dialogue + "}", "combined");
  CHECK((one["score"] == 0.1 && one["model"] == "combined" && one["model_sha"] == "d" && one["tokens"] == 3 && one["truncated"] == false));
  CHECK(
      one["scores"] ==
      json(
          R"({"helpfulness": {"score": 0.5, "probability": 0.6224593312018546}, "safety": {"score": 0.1, "probability": 0.5249791878505392},
              "combined": {"score": 0.1, "probability": 0.5249791878505392}})"));
  CHECK(one["gate"] == json(R"({"decides": "safety", "threshold": 0.15})"));
  const std::string list =
      R"({"inputs": [)" + dialogue + R"(, {"prompt": "q", "response": "a", "hazard": true}, {"ids": [1, 2]}, {"text": "t"}]})";
  const Asked asked = reward_request(json(list));
  REQUIRE(asked.items.size() == 4);
  CHECK((!asked.items[0].hazard && asked.items[1].hazard));
  CHECK(content<core::Ids>(asked, 2) == core::Ids{1, 2});
  CHECK(content<PlainText>(asked, 3).text == "t");
  const Json rows = reply_to(reward_request, list)["data"];
  CHECK((rows.size() == 4 && rows[1]["index"] == 1 && rows[1]["score"] == 2.0 && rows[1]["probability"] == kSigmoidOfTwo &&
         !rows[1].contains("scores")));
  CHECK(reply_to(reward_request, R"({"inputs": []})")["data"] == Json::array());
  for (const char* bad :
       {R"({})", R"({"inputs": 1})", R"({"inputs": [1]})", R"({"prompt": "q"})", R"({"inputs": [{"text": "t", "model": "SECRET"}]})",
        R"({"inputs": [{"text": "t", "max_tokens": 9}]})", R"({"pairs": [{"prompt": "q", "response": "a", "overlong": "refuse"}]})",
        R"({"inputs": [{"text": "t"}], "text": "SECRET"})", R"({"inputs": [{"text": "t"}], "pairs": []})", R"({"pairs": {}})",
        R"({"input": 1})", R"({"input": [[1.5]]})", R"({"text": "t", "return": ["SECRET"]})", R"({"text": "t", "return": "raw"})",
        R"({"prompt": "q", "response": "a", "text": "t"})", R"({"text": "t", "hazard": "SECRET"})",
        R"({"text": "t", "overlong": "SECRET"})", R"({"ids": "SECRET"})"})
    CHECK(status_of_bad(reward_request, bad) == 400);
}

TEST_CASE("/v1/logprobs: the inputs of /v1/reward, but text, which has no answer", "[serve]") {
  const std::string dialogue = R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])";
  const Asked asked =
      logprobs_request(json(R"({"model": "p", "inputs": [)" + dialogue + R"(, {"prompt": "q", "response": "a"}, {"ids": [1, 2]}]})"));
  REQUIRE((asked.items.size() == 3 && asked.model == "p"));
  CHECK(content<core::Ids>(asked, 2) == core::Ids{1, 2});
  for (const char* bad : {R"({"text": "t"})", R"({})", R"({"prompt": "q"})", R"({"inputs": [{"text": "t"}]})"})
    CHECK(status_of_bad(logprobs_request, bad) == 400);
}

TEST_CASE("errors: the form and the status of each family", "[serve]") {
  CHECK(json(error_body(Family::tei, 429, "full")) == json(R"({"error": "full", "error_type": "Overloaded"})"));
  CHECK(json(error_body(Family::tei, 422, "bad"))["error_type"] == "Validation");
  CHECK(error_body(Family::tei, 401, "key").empty());
  CHECK(json(error_body(Family::vllm, 401, "key")) == json(R"({"error": "Unauthorized"})"));
  CHECK(json(error_body(Family::vllm, 400, "bad")) ==
        json(R"({"error": {"message": "bad", "type": "BadRequestError", "param": null, "code": 400}})"));
  const auto statuses = [](Trouble trouble) {
    return std::vector{status_of(trouble, Family::trainer), status_of(trouble, Family::vllm), status_of(trouble, Family::tei)};
  };
  CHECK(statuses(Trouble::too_many) == std::vector{413, 400, 422});
  CHECK(statuses(Trouble::malformed) == std::vector{400, 400, 400});
  CHECK(statuses(Trouble::empty) == std::vector{400, 400, 400});
  CHECK(statuses(Trouble::invalid) == std::vector{400, 400, 422});
  CHECK(statuses(Trouble::unknown) == std::vector{404, 404, 404});
  CHECK(statuses(Trouble::ending) == std::vector{503, 503, 503});
  CHECK(json(error_body(Family::tei, Trouble::empty, "empty"))["error_type"] == "Empty");
  CHECK(statuses(Trouble::overloaded) == std::vector{503, 503, 429});
  CHECK(statuses(Trouble::overlong) == std::vector{400, 400, 422});
  CHECK(statuses(Trouble::model) == std::vector{500, 500, 424});
}

}  // namespace keel::serve::dialects
