// Prompts of a file as a model reads them, and what becomes of those that do not fit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/counts.h"
#include "data/preferences.h"
#include "inference/model_folder.h"

namespace keel::inference {

// How dialogues become ids: what happens to those that do not fit, and to chat-format tags inside messages.
struct RenderPolicy {
  int64_t max_tokens = 0;  // longest dialogue, answer included; 0 = the model's context
  bool drop_oldest_turns = false;
  bool allow_tags = false;  // keep them as plain text: for answers that models wrote
};

inline void visit(RenderPolicy& policy, core::Fields& fields) {
  fields("max_tokens", policy.max_tokens, "longest dialogue; longer ones are dropped and counted; 0 = the model's context",
         core::at_least(0));
  fields("drop_oldest_turns", policy.drop_oldest_turns, "shorten longer prompts by their oldest turns instead (counted)");
  fields("allow_tags", policy.allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
}

// The same where nothing may be longer than `most` tokens.
data::RenderLimits limits_within(const RenderPolicy& policy, int64_t most);

// Prompts of a JSONL file: {"messages"} (or {"prompt"}), with "hazard": true where the prompt is about safety.
struct Prompts {
  std::vector<nlohmann::json> rows;  // as they stand in the file
  std::vector<core::Dialogue> dialogues;
  std::vector<core::Ids> ids;
  std::vector<bool> hazard;
  std::vector<std::string> sources;  // PromptRecord::source
  data::Counts counts;
};

// Rendered for `model` with room for an answer of `max_new_tokens`; those that do not fit are shortened or left out as `limit` says, and
// counted. DataError when none is left.
Prompts read_prompt_file(const std::filesystem::path& path, const LanguageModel& model, const RenderPolicy& limit, int64_t max_new_tokens);

}  // namespace keel::inference
