// Model folders as the commands use them: weights, tokenizer and chat format together, with keel.json beside them.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "core/config.h"
#include "core/digest_cache.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"
#include "inference/model_text.h"
#include "policy/llama.h"
#include "policy/lora.h"
#include "reward/model.h"

namespace keel::inference {

// How dialogues become ids: what happens to those that do not fit, and to chat-format tags inside messages.
struct RenderPolicy {
  int64_t max_tokens = 0;  // longest dialogue, answer included; 0 = the model's context
  bool drop_oldest_turns = false;
  bool allow_tags = false;  // keep tags as plain text: for answers that models wrote
};

inline void visit(RenderPolicy& policy, core::Fields& fields) {
  fields("max_tokens", policy.max_tokens, "longest dialogue; longer ones are dropped and counted; 0 = the model's context",
         core::at_least(0));
  fields("drop_oldest_turns", policy.drop_oldest_turns, "shorten longer prompts by their oldest turns instead (counted)");
  fields("allow_tags", policy.allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
}

struct LanguageModel {
  policy::Llama llama;
  std::shared_ptr<const data::Tokenizer> tokenizer;
  RenderPolicy limit;  // that it was trained with; tags are refused unless a caller allows them
  data::ChatFormat format;
};

struct ScoringModel {
  std::optional<reward::RewardModel> weights;  // none where a service holds them (inference/remote_reward.h)
  reward::ScoreRows score = {};                // raw scores of rows of ids
  policy::LlamaConfig shape = {};              // of a service's model: vocabulary and context alone
  std::shared_ptr<const data::Tokenizer> tokenizer;
  RenderPolicy limit;  // that it was trained with; tags are refused unless a caller allows them
  data::ChatFormat format;
};

// Shared weights are those of every other model of the same files (policy::shared_weights) and may not be trained in place; a PEFT adapter
// stays beside them. Weights of one's own may be trained, and an adapter is merged into them.
enum class Weights { shared, own };

inline Weights weights_for(const policy::LoraConfig& lora) {  // of the model that a training with these adapters begins from
  return lora.rank > 0 ? Weights::shared : Weights::own;
}

// A model folder, or the folder of a PEFT adapter (policy::base_of). `chat` overrides the format of keel.json or, without one, of the chat
// template; "" keeps it. UsageError for a folder without a model, DataError for broken files or a tokenizer with more ids than the model.
LanguageModel load_language_model(const std::filesystem::path& folder, const std::string& chat = {}, Weights weights = Weights::shared);
ScoringModel load_scoring_model(const std::filesystem::path& folder, const std::string& chat = {});

// The limit in a folder's keel.json or, for an adapter without one, in its base's; the default where there is none.
RenderPolicy recorded_limit(const std::filesystem::path& folder);

// Writes weights (adapters merged into them), tokenizer files (copied from `tokenizer_from`, a folder) and keel.json with the digest of the
// weights and `lineage`.
void save_language_model(const std::filesystem::path& folder, const policy::Llama& llama, const std::filesystem::path& tokenizer_from,
                         data::ChatFormat format, const nlohmann::json& lineage, const RenderPolicy& limit = {});
void save_scoring_model(const std::filesystem::path& folder, const reward::RewardModel& model, const std::filesystem::path& tokenizer_from,
                        data::ChatFormat format, const nlohmann::json& lineage, const RenderPolicy& limit = {});

// With lora.rank, an adapter's folder as PEFT reads it, with keel.json; nothing without. It names no base: that is the model that training
// began from. A reward model's adapter holds the scalar head.
void save_adapter(const std::filesystem::path& folder, const policy::Llama& model, const policy::LoraConfig& lora, data::ChatFormat format,
                  const nlohmann::json& lineage, const RenderPolicy& limit = {});
void save_adapter(const std::filesystem::path& folder, const reward::RewardModel& model, const policy::LoraConfig& lora,
                  data::ChatFormat format, const nlohmann::json& lineage, const RenderPolicy& limit = {});

// keel.json of a finished model or adapter folder.
void write_keel_json(const std::filesystem::path& folder, data::ChatFormat format, const nlohmann::json& lineage,
                     const RenderPolicy& limit = {});

// SHA-256 over the weights, configuration and tokenizer files of a model folder, and of an adapter's base: what a stage's key holds instead
// of its path.
std::string model_digest(const std::filesystem::path& folder, core::DigestCache& digests);

}  // namespace keel::inference
