// Which path takes what, and what it means.
#pragma once

#include <string>
#include <vector>

#include "serve/dialects/dialects.h"

namespace keel::serve::dialects {

enum class Dialect { none, trainer, llama_factory, reward, classify, score, rerank, pooling, embeddings, predict, logprobs, tokenize };

struct Target {
  std::string path;   // without the name of a model; "" for one that is not known, so that no client's text gets into metrics
  std::string model;  // NAME of /rm/NAME/... and /v1/models/NAME
  Dialect dialect = Dialect::none;
  Family family = Family::trainer;
  bool get = false;
};

// One slash for several, none at the end: /get_reward for //get_reward/.
std::string normal_path(const std::string& path);

// These take a normal path.
Target target_of(const std::string& path);
bool is_public(const std::string& path);  // health: no key is needed

std::vector<std::string> methods_of(const Target& target);  // "GET", "HEAD", "POST"; empty for an unknown path
std::vector<std::string> scoring_paths();

// The family whose form a body has, where the path does not say it: at the rerank paths and /tokenize.
Family family_of(const Target& target, const nlohmann::json& body);

// The request of a dialect's body. The family is family_of()'s.
Asked read_request(const Target& target, const nlohmann::json& body);

}  // namespace keel::serve::dialects
