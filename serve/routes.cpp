#include "serve/routes.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "data/prompts.h"
#include "inference/records.h"
#include "serve/dialects/fields.h"

namespace keel::serve {
namespace {

using dialects::Asked;
using dialects::Family;
using dialects::Item;
using dialects::Refused;
using dialects::Trouble;
using nlohmann::json;

const std::map<std::string, Target>& targets() {
  static const std::map<std::string, Target> all = [] {
    std::map<std::string, Target> map;
    const auto post = [&](Dialect dialect, Family family, const std::vector<std::string>& paths) {
      for (const auto& path : paths)
        map[path] = {.path = path, .model = {}, .dialect = dialect, .family = family, .get = false};
    };
    post(Dialect::trainer, Family::trainer, {"/get_reward"});
    post(Dialect::llama_factory, Family::trainer, {"/v1/score/evaluation"});
    post(Dialect::reward, Family::trainer, {"/v1/reward"});
    post(Dialect::logprobs, Family::trainer, {"/v1/logprobs"});
    post(Dialect::classify, Family::vllm, {"/classify", "/v1/classify"});
    post(Dialect::score, Family::vllm, {"/score", "/v1/score"});
    post(Dialect::rerank, Family::vllm, {"/rerank", "/v1/rerank", "/v2/rerank"});
    post(Dialect::pooling, Family::vllm, {"/pooling"});
    post(Dialect::embeddings, Family::vllm, {"/v1/embeddings"});
    post(Dialect::predict, Family::tei, {"/predict", "/", "/invocations"});
    for (const char* path :
         {"/", "/health", "/ping", "/livez", "/readyz", "/metrics", "/info", "/version", "/load", "/v1/models", "/openapi.json"})
      map[path].path = path, map[path].get = true;
    map["/info"].family = Family::tei;
    return map;
  }();
  return all;
}

json id2label() {
  return {{"id2label", {{"0", "score"}}}, {"label2id", {{"score", 0}}}};
}

}  // namespace

Target target_of(const std::string& path) {
  std::string rest = path, model;
  if (path.starts_with("/rm/"))  // the longest path that follows a name; names may hold slashes
    for (const auto& [known, target] : targets())
      if (target.dialect != Dialect::none && known != "/" && path.size() > 4 + known.size() && path.ends_with(known) &&
          (rest == path || known.size() > rest.size()))
        rest = known, model = path.substr(4, path.size() - 4 - known.size());
  const auto found = targets().find(rest);
  if (found == targets().end()) return {};
  Target target = found->second;
  target.model = model;
  return target;
}

std::vector<std::string> methods_of(const Target& target) {
  std::vector<std::string> methods;
  if (target.get) methods = {"GET", "HEAD"};
  if (target.dialect != Dialect::none) methods.emplace_back("POST");
  return methods;
}

bool is_public(const std::string& path) {
  return path == "/health" || path == "/ping" || path == "/livez" || path == "/readyz";
}

Asked read_request(const Target& target, const json& body) {
  switch (target.dialect) {
    case Dialect::trainer:
      return dialects::trainer_request(body);
    case Dialect::llama_factory:
      return dialects::llama_factory_request(body);
    case Dialect::reward:
      return dialects::reward_request(body);
    case Dialect::classify:
      return dialects::classify_request(body);
    case Dialect::score:
      return dialects::score_request(body);
    case Dialect::pooling:
      return dialects::pooling_request(body);
    case Dialect::embeddings:
      return dialects::embeddings_request(body);
    case Dialect::predict:
      return dialects::predict_request(body);
    case Dialect::logprobs:
      return dialects::logprobs_request(body);
    case Dialect::rerank:
      return target.family == Family::tei ? dialects::tei_rerank_request(body) : dialects::rerank_request(body);
    case Dialect::none:
      break;
  }
  throw Refused(Trouble::unknown, "there is nothing at this path");
}

core::TokenSequence sequence_of(const ServedModel& model, const Item& item) {
  data::PromptSet set;
  data::PromptRecord& record = set.records.emplace_back();
  if (const auto* ids = std::get_if<core::Ids>(&item.content))
    record.ids = *ids;
  else if (const auto* pair = std::get_if<dialects::PromptAndAnswer>(&item.content))
    record.text = pair->prompt, record.response = pair->answer;
  else
    record.messages = std::get<core::Dialogue>(item.content);
  try {
    if (auto sequence = inference::answers_for(*model.policy, set, {.bos = true, .limit = model.limit}).front())
      return std::move(*sequence);
  } catch (const core::DataError&) {  // its words may repeat the client's
    throw Refused(Trouble::invalid, "an input holds tags of the chat format, ids outside the vocabulary, or no token");
  }
  throw Refused(Trouble::overlong, "an input is longer than the model's context");
}

json models_json(const ModelSet& set) {
  json list = json::array();
  const auto add = [&](const std::string& name, const std::string& kind, const std::string& digest) {
    list.push_back({{"id", name}, {"object", "model"}, {"created", 0}, {"owned_by", "keel"}, {"kind", kind}, {"sha", digest}});
  };
  if (set.combined) add(kCombined, "reward", set.digest_of(kCombined));
  for (const auto& model : set.rewards)
    add(model->name, "reward", model->digest);
  for (const auto& model : set.policies)
    add(model->name, "policy", model->digest);
  return {{"object", "list"}, {"data", list}};
}

json info_json(const ModelSet& set, const EngineLimits& limits, int64_t most_texts, bool truncates) {
  const auto models = set.behind(set.default_name());
  int64_t longest = models.front()->most_tokens;
  for (const auto& model : models)
    longest = std::min(longest, model->most_tokens);
  json all = json::object();
  for (const auto& list : {set.rewards, set.policies})
    all.update(metadata_of(list));
  json info = {{"model_id", set.default_name()},
               {"model_sha", set.digest_of(set.default_name())},
               {"model_dtype", "float32"},
               {"served_model_name", set.default_name()},
               {"model_type", {{"classifier", id2label()}}},
               {"max_concurrent_requests", limits.queued_texts},
               {"max_input_length", longest},
               {"max_batch_tokens", limits.batch_tokens},
               {"max_batch_requests", limits.batch_texts},
               {"max_client_batch_size", dialects::kMostTeiTexts},
               {"auto_truncate", truncates},
               {"tokenization_workers", 1},
               {"version", core::kVersion},
               {"sha", nullptr},
               {"docker_label", nullptr}};
  info["keel"] = {{"models", all},
                  {"max_texts", most_texts},
                  {"deterministic", set.deterministic},
                  {"batch_difference", set.deterministic ? 0.0 : kBatchDifference}};
  if (set.combined) info["keel"]["gate"] = set.gate.gate_threshold;
  return info;
}

json metadata_of(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  json all = json::object();
  for (const auto& model : models)
    all[model->name] = model->metadata;
  return all;
}

}  // namespace keel::serve
