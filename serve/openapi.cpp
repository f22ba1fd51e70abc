#include "serve/openapi.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/version.h"

namespace keel::serve {
namespace {

using nlohmann::json;

json text() {
  return {{"type", "string"}};
}
json some_text() {
  return {{"type", "string"}, {"minLength", 1}};
}
json flag(const char* what) {
  return {{"type", "boolean"}, {"description", what}};
}
json list_of(const json& items) {
  return {{"type", "array"}, {"items", items}};
}
json some_of(const json& items) {
  return {{"type", "array"}, {"items", items}, {"minItems", 1}};
}
json any_of(const json& options) {
  return {{"anyOf", options}};
}
json reply(const json& properties) {
  return {{"type", "object"}, {"properties", properties}};
}
// Of a request: members that are not required may be null, which is the same as absent.
json object(const json& properties, const std::vector<std::string>& required = {}) {
  json schema = reply(properties);
  if (!required.empty()) schema["required"] = required;
  for (auto& [name, member] : schema["properties"].items()) {
    if (std::ranges::find(required, name) != required.end() || member.empty()) continue;
    if (member.contains("$ref")) member = any_of({member});
    if (member.contains("anyOf"))  // "nullable" counts beside a type alone
      member["anyOf"].push_back({{"type", "string"}, {"nullable", true}, {"enum", {nullptr}}});
    else
      member["nullable"] = true;
    if (member.contains("enum")) member["enum"].push_back(nullptr);
  }
  return schema;
}
// A schema of which one of several sets of members must be there. In it these may not be null, which is stricter than the service: what
// says "this one may be null where another is not" keeps generators of requests busy for minutes.
json needing(const json& properties, const std::vector<std::vector<std::string>>& sets, const std::vector<std::string>& required = {}) {
  json schema = object(properties, required);
  for (const auto& set : sets) {
    schema["anyOf"].push_back({{"required", set}});
    for (const auto& name : set)
      schema["properties"][name] = properties[name];
  }
  return schema;
}
json number() {
  return {{"type", "number"}};
}
json integer(int64_t lowest) {
  return {{"type", "integer"}, {"minimum", lowest}, {"maximum", INT32_MAX}};
}
json reference(const char* name) {
  return {{"$ref", std::string("#/components/schemas/") + name}};
}

json schemas() {
  const json parts = reference("Parts"), prose = any_of({text(), parts}), some_prose = any_of({some_text(), parts});
  const json ids = list_of(integer(0)), texts = list_of(prose), text_or_texts = any_of({text(), parts, texts});
  const json some_texts = any_of({some_text(), parts, some_of(some_prose)});
  const json side = any_of({some_text(), parts, object({{"text", some_prose}}, {"text"}), object({{"content", some_prose}}, {"content"})});
  const json sides = any_of({side, some_of(side)});
  const json messages = {{"type", "array"}, {"items", reference("Message")}, {"minItems", 2}};
  const json scores = list_of(number());
  const json truncation = {{"truncate_prompt_tokens", any_of({{{"type", "integer"}, {"enum", {-1}}}, integer(1)})},
                           {"truncation_side", {{"type", "string"}, {"enum", {"left", "right"}}}}};
  const auto with = [](json properties, const json& more) {
    properties.update(more);
    return properties;
  };
  const json switches = {{"model", text()},
                         {"use_activation", flag("probabilities in place of raw scores")},
                         {"activation", flag("use_activation's old name")}};
  const json tei = {{"truncate", flag("false: a text over the limit is refused")},
                    {"truncation_direction", {{"type", "string"}, {"enum", {"Left", "Right", "left", "right"}}}},
                    {"raw_scores", flag("raw scores in place of probabilities")}};
  const json input = {{"input", any_of({some_text(), parts, some_of(some_prose), some_of(integer(0)), some_of(some_of(integer(0)))})},
                      {"messages", messages}};
  json all;
  const auto one_of = [](const json& names) { return json{{"type", "string"}, {"enum", names}}; };
  all["Parts"] = some_of(object({{"type", one_of({"text"})}, {"text", text()}}, {"type", "text"}));
  all["Parts"]["description"] = "texts, joined by line breaks";
  all["Message"] = object({{"role", one_of({"system", "user", "assistant"})}, {"content", prose}}, {"role", "content"});
  const json reward_input = {{"messages", messages}, {"prompt", prose}, {"response", prose},
                             {"ids", ids},           {"text", prose},   {"hazard", flag("the prompt is about safety")}};
  all["RewardInput"] = needing(reward_input, {{"messages"}, {"prompt", "response"}, {"ids"}, {"text"}});
  json reward = reward_input;
  reward.update({{"model", text()},
                 {"inputs", list_of(any_of({messages, reference("RewardInput")}))},
                 {"conversations", list_of(messages)},
                 {"pairs", list_of(object({{"prompt", prose}, {"response", prose}}, {"prompt", "response"}))},
                 {"input", any_of({text(), parts, texts, ids, list_of(ids)})},
                 {"return", list_of(one_of({"raw", "logit", "sigmoid", "tokens", "per_model"}))},
                 {"max_tokens", integer(1)},
                 {"overlong", {{"type", "string"}, {"enum", {"own", "keep_end", "keep_start", "refuse"}}}},
                 {"return_tokens", flag("the tokens as text")}});
  all["RewardRequest"] =
      needing(reward, {{"messages"}, {"prompt", "response"}, {"ids"}, {"text"}, {"inputs"}, {"conversations"}, {"pairs"}, {"input"}});
  const json anything = reply(json::object());
  all["RewardReply"] = reply({{"id", text()},
                              {"model", text()},
                              {"model_sha", text()},
                              {"created", integer(0)},
                              {"metadata", anything},
                              {"usage", anything},
                              {"timings", anything},
                              {"score", number()},
                              {"reward", number()},
                              {"probability", number()},
                              {"tokens", integer(0)},
                              {"truncated", flag("something was left out")},
                              {"cut", flag("what did not fit, not oldest turns alone")},
                              {"scores", anything},
                              {"gate", reply({{"decides", text()}, {"threshold", number()}})},
                              {"token_texts", texts},
                              {"answer_tokens", integer(0)},
                              {"data", list_of(anything)}});
  all["GetRewardRequest"] = any_of({object({{"model", text()},
                                            {"query", text_or_texts},
                                            {"prompts", {{"description", "not read"}}},
                                            {"labels", {{"description", "a list; {\"is_safety\": true} marks a prompt about safety"}}}},
                                           {"query"}),
                                    object({{"model", text()},
                                            {"prompt", any_of({text(), parts, list_of(reference("Message"))})},
                                            {"response", prose},
                                            {"label", json::object()}},
                                           {"prompt", "response"}),
                                    object({{"model", json::object()}, {"messages", texts}, {"max_length", integer(1)}}, {"messages"})});
  all["GetRewardReply"] = any_of(
      {reply({{"rewards", scores}, {"scores", scores}, {"extra_logs", reply(json::object())}}), number(), reply({{"scores", scores}})});
  all["EvaluationRequest"] = object({{"model", json::object()}, {"messages", texts}, {"max_length", integer(1)}}, {"messages"});
  all["ClassifyRequest"] =
      needing(with(with(switches, truncation), with(input, {{"text", some_texts}, {"add_special_tokens", flag("BOS before a text")}})),
              {{"input"}, {"messages"}, {"text"}});
  all["ScoreRequest"] = needing(with(with(switches, truncation), {{"text_1", sides},
                                                                  {"text_2", sides},
                                                                  {"queries", sides},
                                                                  {"documents", sides},
                                                                  {"items", sides},
                                                                  {"data_1", sides},
                                                                  {"data_2", sides}}),
                                {{"text_1", "text_2"}, {"queries", "documents"}, {"queries", "items"}, {"data_1", "data_2"}});
  all["RerankRequest"] = needing(with(with(switches, with(truncation, tei)), {{"query", side},
                                                                              {"documents", some_of(side)},
                                                                              {"texts", some_of(prose)},
                                                                              {"top_n", integer(0)},
                                                                              {"max_tokens_per_doc", integer(1)},
                                                                              {"return_text", flag("the texts, too")}}),
                                 {{"documents"}, {"texts"}}, {"query"});
  const json pooled = with(with(switches, truncation), with(input, {{"add_special_tokens", flag("BOS before a text")}}));
  all["PoolingRequest"] =
      needing(with(pooled, {{"task", one_of({"classify"})}, {"encoding_format", one_of({"float"})}}), {{"input"}, {"messages"}});
  all["EmbeddingsRequest"] = needing(with(pooled, {{"encoding_format", one_of({"float", "base64"})}}), {{"input"}, {"messages"}});
  all["PredictRequest"] = object(
      with(tei, {{"model", json::object()}, {"inputs", any_of({some_prose, some_of(some_prose), some_of(some_of(prose))})}}), {"inputs"});
  all["TokenizeRequest"] = needing({{"model", json::object()},
                                    {"prompt", prose},
                                    {"messages", some_of(reference("Message"))},
                                    {"inputs", some_texts},
                                    {"add_special_tokens", flag("BOS before a text")},
                                    {"return_token_strs", flag("vLLM: the tokens as text, too")}},
                                   {{"prompt"}, {"messages"}, {"inputs"}});
  all["LogprobsRequest"] = needing({{"model", text()},
                                    {"messages", messages},
                                    {"prompt", prose},
                                    {"response", prose},
                                    {"ids", ids},
                                    {"inputs", list_of(any_of({messages, anything}))}},
                                   {{"messages"}, {"prompt", "response"}, {"ids"}, {"inputs"}});
  all["Anything"] = json::object();
  all["Error"] =
      json{{"description", "{\"error\": {\"message\", \"type\", \"param\", \"code\"}}; on TEI's paths {\"error\", \"error_type\"}"}};
  return all;
}

json content(const char* schema) {
  return {{"application/json", {{"schema", reference(schema)}}}};
}

json responses(const json& success) {
  json all = {{"200", success}};
  for (const char* status : {"400", "401", "403", "404", "405", "411", "413", "415", "422", "424", "429", "431", "500", "503"})
    all[status] = {{"description", "refused"}, {"content", content("Error")}};
  return all;
}

}  // namespace

std::string openapi_json(bool embeddings) {
  json paths;
  const json name = json::array(
      {{{"name", "name"}, {"in", "path"}, {"required", true}, {"description", "a model that GET /v1/models names"}, {"schema", text()}}});
  // Each also at /rm/NAME before its path.
  const auto post = [&](const std::string& path, const char* summary, const char* request, const char* reply) {
    const json operation = {{"summary", summary},
                            {"requestBody", {{"required", true}, {"content", content(request)}}},
                            {"responses", responses({{"description", "scores"}, {"content", content(reply)}})}};
    paths[path]["post"] = operation;
    json& named = paths[path == "/" ? "/rm/{name}" : "/rm/{name}" + path];
    named["post"] = operation;
    named["parameters"] = name;
  };
  const auto get = [&](const std::string& path, const char* summary, const char* type, bool open = false) {
    if (path.find('{') != std::string::npos) paths[path]["parameters"] = name;
    paths[path]["get"] = {{"summary", summary},
                          {"responses", responses({{"description", summary}, {"content", {{type, {{"schema", json::object()}}}}}})}};
    if (open) paths[path]["get"]["security"] = json::array({json::object()});
  };
  post("/v1/reward", "keel's own form: one dialogue, or a list", "RewardRequest", "RewardReply");
  post("/get_reward", "OpenRLHF, slime, LLaMA-Factory", "GetRewardRequest", "GetRewardReply");
  post("/v1/score/evaluation", "LLaMA-Factory", "EvaluationRequest", "Anything");
  for (const char* path : {"/classify", "/v1/classify"})
    post(path, "vLLM; SGLang with \"text\"", "ClassifyRequest", "Anything");
  for (const char* path : {"/score", "/v1/score"})
    post(path, "vLLM: a prompt and its answer", "ScoreRequest", "Anything");
  for (const char* path : {"/rerank", "/v1/rerank", "/v2/rerank"})
    post(path, "vLLM, Jina, Cohere; TEI with \"texts\"", "RerankRequest", "Anything");
  post("/pooling", "vLLM", "PoolingRequest", "Anything");
  if (embeddings) post("/v1/embeddings", "the reward as an embedding", "EmbeddingsRequest", "Anything");
  for (const char* path : {"/predict", "/invocations", "/"})
    post(path, "TEI", "PredictRequest", "Anything");
  post("/tokenize", "TEI with \"inputs\"; vLLM", "TokenizeRequest", "Anything");
  post("/v1/logprobs", "log-probabilities of answers under a policy", "LogprobsRequest", "Anything");
  get("/", "a page to score by hand", "text/html");
  for (const char* path : {"/health", "/ping", "/livez", "/readyz"})
    get(path, "health", "application/json", true);
  get("/rm/{name}/health", "health", "application/json");
  for (const char* path : {"/info", "/rm/{name}/info", "/version", "/load", "/v1/models", "/v1/models/{name}", "/openapi.json"})
    get(path, "about the service", "application/json");
  get("/metrics", "Prometheus", "text/plain");
  return core::dump_json(
      {{"openapi", "3.0.3"},
       {"info", {{"title", "keel serve"}, {"version", core::kVersion}, {"description", "Scores of reward models"}}},
       {"paths", paths},
       {"components",
        {{"schemas", schemas()},
         {"securitySchemes",
          {{"bearer", {{"type", "http"}, {"scheme", "bearer"}}},
           {"key", {{"type", "apiKey"}, {"in", "header"}, {"name", "X-Api-Key"}}},
           {"basic", {{"type", "http"}, {"scheme", "basic"}}}}}}},
       {"security", {{{"bearer", json::array()}}, {{"key", json::array()}}, {{"basic", json::array()}}, json::object()}}});
}

}  // namespace keel::serve
