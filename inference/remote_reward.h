// Reward models that a service holds (keel serve): the client of its own form, /v1/reward.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/types.h"
#include "http/client.h"

namespace keel::inference {

// Whether a reward model is named by an address, http://HOST:PORT/rm/NAME (or http://HOST:PORT for the service's default; https:// where a
// proxy adds TLS), and not by a folder.
bool is_remote(const std::filesystem::path& model);

// One model of a service. $KEEL_SERVE_KEY is sent as the bearer token. A request that fails (no answer, 429, 5xx) is repeated with growing
// pauses for ten minutes; then, and for any other refusal, for a reply that lacks a score, and when the service has meanwhile loaded
// another model, the work stops with an error: no score is ever made up.
class RewardClient {
 public:
  // Asks the service what it holds. UsageError for a malformed address, an unknown model or a wrong key, IoError without an answer.
  explicit RewardClient(const std::string& address);

  const std::string& name() const { return name_; }
  const std::string& digest() const { return digest_; }  // of the weights, as the service computes it
  // "lineage", "chat_format", "tokenizer" (SHA-256), "vocab_size", "context", "max_tokens", "drop_oldest_turns"; null for a combination.
  const nlohmann::json& metadata() const { return *metadata_; }

  // Raw scores of rows of ids, in order.
  std::vector<double> score(const std::vector<core::Ids>& rows) const;

  // Rows of the reply to `inputs` (each as in POST /v1/reward), in order: "score", "probability" ... `overlong` as there.
  std::vector<nlohmann::json> ask(const std::vector<nlohmann::json>& inputs, const std::string& overlong = "refuse") const;

 private:
  http::Answer request(const std::string& path, const std::string* body) const;
  nlohmann::json reply(const std::string& path, const std::string* body) const;

  std::string address_;  // without /rm/NAME
  http::Url url_;
  std::string name_, digest_;
  std::shared_ptr<const nlohmann::json> metadata_;
  size_t most_texts_ = 1;
};

}  // namespace keel::inference
