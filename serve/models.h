// The models that a service holds, by name, and their replacement while it runs.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "inference/model_folder.h"
#include "reward/combination.h"
#include "serve/dialects/asked.h"
#include "serve/engine.h"

namespace keel::serve {

inline constexpr const char* kCombined = "combined";  // the name of the paper's reward of two models

struct NamedFolder {
  std::string name;  // "helpfulness", "safety"
  std::filesystem::path folder;
};

struct ModelsConfig {
  std::vector<NamedFolder> rewards;   // at least one; combined: "helpfulness" and "safety" are among them
  std::vector<NamedFolder> policies;  // for log-probabilities
  std::filesystem::path base;         // of those that are PEFT adapters; "" = as they name it
  bool combined = false;
  std::optional<double> gate;  // else that of combination.json beside the safety model's folder
  bool allow_tags = false;
  bool deterministic = false;  // on a device that is not the CPU: rows go through a model one at a time
};

// One loaded model. The same folder loaded again is another object.
struct ServedModel {
  std::string name;
  std::string digest;       // SHA-256 of weights, configuration and tokenizer
  nlohmann::json metadata;  // "lineage", "chat_format", "max_tokens", "drop_oldest_turns"
  std::shared_ptr<const data::Tokenizer> tokenizer;
  data::ChatFormat format;
  inference::RenderPolicy limit;
  policy::LlamaConfig shape;
  int64_t most_tokens = 0;
  std::shared_ptr<const Forward> forward;
  std::optional<inference::ScoringModel> reward;  // or
  std::optional<inference::LanguageModel> policy;
};

// All models at one moment. A request keeps the set that it began with, so that a reload changes none half-way.
struct ModelSet {
  std::vector<std::shared_ptr<const ServedModel>> rewards, policies;
  bool combined = false;
  bool deterministic = true;  // whether a row's values depend on nothing but its ids, to the bit
  reward::CombinationConfig gate;

  const std::string& default_name() const;
  std::vector<std::string> reward_names() const;  // "combined" too
  // The name that a path means: one that begins with a slash may have lost it there. "" for an unknown one.
  std::string served_name(const std::string& in_path) const;
  // The models behind a name: one, or helpfulness and safety. Empty for an unknown name.
  std::vector<std::shared_ptr<const ServedModel>> behind(const std::string& name) const;
  std::shared_ptr<const ServedModel> policy(const std::string& name) const;  // nullptr: unknown; "" is the first
  std::string digest_of(const std::string& name) const;                      // of two models: both, joined by "+"
};

// Loads every folder. UsageError and DataError as load_scoring_model(); DataError where weights do not have the digest that keel.json
// records, or where a row of FOLDER/probes.jsonl ({"messages"} or another form of keel score, "score", and "tolerance", 1e-3 when it is
// left out) scores otherwise.
std::shared_ptr<const ModelSet> load_models(const ModelsConfig& config);

// Ids of an item, and whether something of it was left out.
struct Rendered {
  core::Ids ids;
  bool truncated = false, cut = false;  // as of dialects::Score
  int64_t answer_tokens = 0;            // at the end, with the end's id; 0 where the item says not what the answer is
};

std::string digest_of(const std::vector<std::shared_ptr<const ServedModel>>& models);  // of several, joined by "+"

// Ids of an item, uncut and with all its turns. Throws as render().
core::Ids whole_ids(const ServedModel& model, const dialects::Item& item);

// Throws dialects::Refused for a text over the limit where it is to be refused, tags, ids outside the vocabulary, empty texts, invalid
// UTF-8 and a limit above the model's context.
Rendered render(const ServedModel& model, const dialects::Item& item, const dialects::Asked& asked);

}  // namespace keel::serve
