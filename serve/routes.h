// Which path takes what, and what it means.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "serve/dialects/dialects.h"
#include "serve/engine.h"
#include "serve/models.h"

namespace keel::serve {

enum class Dialect { none, trainer, llama_factory, reward, classify, score, rerank, pooling, embeddings, predict, logprobs };

struct Target {
  std::string path;   // without /rm/NAME; "" for one that is not known, so that no client's text gets into metrics
  std::string model;  // NAME of /rm/NAME/...
  Dialect dialect = Dialect::none;
  dialects::Family family = dialects::Family::trainer;
  bool get = false;
};

Target target_of(const std::string& path);
std::vector<std::string> methods_of(const Target& target);  // "GET", "HEAD", "POST"; empty for an unknown path
bool is_public(const std::string& path);                    // health: no key is needed

// The request of a dialect's body. At the rerank paths the family says whose form it has.
dialects::Asked read_request(const Target& target, const nlohmann::json& body);

// Of log-probabilities: ids, and true where one is asked for.
core::TokenSequence sequence_of(const ServedModel& model, const dialects::Item& item);

nlohmann::json models_json(const ModelSet& set);  // OpenAI's list
nlohmann::json info_json(const ModelSet& set, const EngineLimits& limits, int64_t most_texts,
                         bool truncates);                                                   // TEI's, and keel's own members
nlohmann::json metadata_of(const std::vector<std::shared_ptr<const ServedModel>>& models);  // by name

}  // namespace keel::serve
