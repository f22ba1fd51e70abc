#include "serve/openapi.h"

#include <nlohmann/json.hpp>

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
json object(const json& properties, const json& required = json::array()) {
  json schema = {{"type", "object"}, {"properties", properties}};
  if (!required.empty()) schema["required"] = required;
  return schema;
}
// A schema of which one of several sets of members must be there.
json needing(json schema, const std::vector<std::vector<std::string>>& sets) {
  for (const auto& set : sets)
    schema["anyOf"].push_back({{"required", set}});
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
  const json ids = list_of(integer(0)), texts = list_of(text()), text_or_texts = any_of({text(), texts});
  const json some_texts = any_of({some_text(), some_of(some_text())});
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
  const json input = {{"input", any_of({some_text(), some_of(some_text()), some_of(integer(0)), some_of(some_of(integer(0)))})},
                      {"messages", messages}};
  json all;
  all["Message"] =
      object({{"role", {{"type", "string"}, {"enum", {"system", "user", "assistant"}}}}, {"content", text()}}, {"role", "content"});
  all["RewardInput"] = needing(object({{"messages", messages},
                                       {"prompt", text()},
                                       {"response", text()},
                                       {"ids", ids},
                                       {"text", text()},
                                       {"hazard", flag("the prompt is about safety")}}),
                               {{"messages"}, {"prompt", "response"}, {"ids"}, {"text"}});
  json reward = all["RewardInput"]["properties"];
  reward.update({{"model", text()},
                 {"inputs", list_of(any_of({messages, reference("RewardInput")}))},
                 {"max_tokens", integer(1)},
                 {"overlong", {{"type", "string"}, {"enum", {"own", "keep_end", "keep_start", "refuse"}}}},
                 {"return_tokens", flag("the tokens as text")}});
  all["RewardRequest"] = needing(object(reward), {{"messages"}, {"prompt", "response"}, {"ids"}, {"text"}, {"inputs"}});
  all["RewardReply"] = object({{"id", text()},
                               {"model", text()},
                               {"model_sha", text()},
                               {"created", integer(0)},
                               {"metadata", object(json::object())},
                               {"score", number()},
                               {"probability", number()},
                               {"tokens", integer(0)},
                               {"truncated", flag("something was left out")},
                               {"cut", flag("what did not fit, not oldest turns alone")},
                               {"scores", object(json::object())},
                               {"gate", object({{"decides", text()}, {"threshold", number()}})},
                               {"token_texts", texts},
                               {"answer_tokens", integer(0)},
                               {"data", list_of(object(json::object()))}});
  all["GetRewardRequest"] = any_of({object({{"model", text()},
                                            {"query", text_or_texts},
                                            {"prompts", {{"description", "not read"}}},
                                            {"labels", {{"description", "a list; {\"is_safety\": true} marks a prompt about safety"}}}},
                                           {"query"}),
                                    object({{"model", text()},
                                            {"prompt", any_of({text(), list_of(reference("Message"))})},
                                            {"response", text()},
                                            {"label", json::object()}},
                                           {"prompt", "response"}),
                                    object({{"messages", texts}, {"max_length", integer(1)}}, {"messages"})});
  all["GetRewardReply"] = any_of(
      {object({{"rewards", scores}, {"scores", scores}, {"extra_logs", object(json::object())}}), number(), object({{"scores", scores}})});
  all["EvaluationRequest"] = object({{"messages", texts}, {"max_length", integer(1)}}, {"messages"});
  all["ClassifyRequest"] = needing(
      object(with(with(switches, truncation), with(input, {{"text", some_texts}, {"add_special_tokens", flag("BOS before a text")}}))),
      {{"input"}, {"messages"}, {"text"}});
  all["ScoreRequest"] = needing(object(with(with(switches, truncation), {{"text_1", some_texts},
                                                                         {"text_2", some_texts},
                                                                         {"queries", some_texts},
                                                                         {"documents", some_texts},
                                                                         {"items", some_texts},
                                                                         {"data_1", some_texts},
                                                                         {"data_2", some_texts}})),
                                {{"text_1", "text_2"}, {"queries", "documents"}, {"queries", "items"}, {"data_1", "data_2"}});
  all["RerankRequest"] = needing(
      object(with(with(switches, with(truncation, tei)), {{"query", text()},
                                                          {"documents", some_of(any_of({text(), object({{"text", text()}}, {"text"})}))},
                                                          {"texts", some_of(text())},
                                                          {"top_n", integer(0)},
                                                          {"max_tokens_per_doc", integer(1)},
                                                          {"return_text", flag("the texts, too")}}),
             {"query"}),
      {{"documents"}, {"texts"}});
  const json pooled = with(with(switches, truncation), with(input, {{"add_special_tokens", flag("BOS before a text")}}));
  const auto one_of = [](const json& names) { return json{{"type", "string"}, {"enum", names}}; };
  all["PoolingRequest"] =
      needing(object(with(pooled, {{"task", one_of({"classify"})}, {"encoding_format", one_of({"float"})}})), {{"input"}, {"messages"}});
  all["EmbeddingsRequest"] = needing(object(with(pooled, {{"encoding_format", one_of({"float", "base64"})}})), {{"input"}, {"messages"}});
  all["PredictRequest"] =
      object(with(tei, {{"inputs", any_of({some_text(), some_of(some_text()), some_of(some_of(some_text()))})}}), {"inputs"});
  all["LogprobsRequest"] = needing(object({{"model", text()},
                                           {"messages", messages},
                                           {"prompt", text()},
                                           {"response", text()},
                                           {"ids", ids},
                                           {"inputs", list_of(any_of({messages, object(json::object())}))}}),
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
  for (const char* status : {"400", "401", "404", "405", "411", "413", "415", "422", "424", "429", "431", "500", "503"})
    all[status] = {{"description", "refused"}, {"content", content("Error")}};
  return all;
}

}  // namespace

std::string openapi_json(bool embeddings) {
  json paths;
  // Each also at /rm/NAME before its path.
  const auto post = [&](const std::string& path, const char* summary, const char* request, const char* reply) {
    const json operation = {{"summary", summary},
                            {"requestBody", {{"required", true}, {"content", content(request)}}},
                            {"responses", responses({{"description", "scores"}, {"content", content(reply)}})}};
    paths[path]["post"] = operation;
    if (path == "/") return;
    json& named = paths["/rm/{name}" + path];
    named["post"] = operation;
    named["parameters"] = json::array(
        {{{"name", "name"}, {"in", "path"}, {"required", true}, {"description", "a model that GET /v1/models names"}, {"schema", text()}}});
  };
  const auto get = [&](const char* path, const char* summary, const char* type, bool open = false) {
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
  post("/v1/logprobs", "log-probabilities of answers under a policy", "LogprobsRequest", "Anything");
  get("/", "a page to score by hand", "text/html");
  for (const char* path : {"/health", "/ping", "/livez", "/readyz"})
    get(path, "health", "application/json", true);
  for (const char* path : {"/info", "/version", "/load", "/v1/models", "/openapi.json"})
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
