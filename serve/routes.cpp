#include "serve/routes.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/version.h"
#include "data/prompts.h"
#include "inference/records.h"
#include "policy/arithmetic.h"
#include "serve/dialects/dialects.h"

namespace keel::serve {
namespace {

using dialects::Item;
using dialects::Refused;
using dialects::Trouble;
using nlohmann::json;

// Those behind the name of a reward model, or the policy of that name.
std::vector<std::shared_ptr<const ServedModel>> models_of(const ModelSet& set, const std::string& name) {
  auto models = set.behind(name);
  if (models.empty()) models = {set.policy(name)};
  return models;
}

json id2label() {
  return {{"id2label", {{"0", "score"}}}, {"label2id", {{"score", 0}}}};
}

}  // namespace

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
  for (const auto& name : set.reward_names())
    list.push_back(model_json(set, name));
  for (const auto& model : set.policies)
    list.push_back(model_json(set, model->name));
  return {{"object", "list"}, {"data", list}};
}

json model_json(const ModelSet& set, const std::string& name) {
  const bool reward = !set.behind(name).empty();
  return {{"id", name},
          {"object", "model"},
          {"created", 0},
          {"owned_by", "keel"},
          {"kind", reward ? "reward" : "policy"},
          {"sha", digest_of(models_of(set, name))}};
}

json info_json(const ModelSet& set, const std::string& name, const EngineLimits& limits, int64_t most_texts, bool truncates) {
  const auto models = models_of(set, name);
  int64_t longest = models.front()->most_tokens;
  for (const auto& model : models)
    longest = std::min(longest, model->most_tokens);
  json all = json::object();
  for (const auto& list : {set.rewards, set.policies})
    all.update(metadata_of(list));
  json info = {{"model_id", name},
               {"model_sha", digest_of(models)},
               {"model_dtype", policy::arithmetic() == "bf16" ? "bfloat16" : "float32"},
               {"served_model_name", name},
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
                  {"batch_difference", set.deterministic ? json(0.0) : json(nullptr)}};
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
