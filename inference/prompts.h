// Prompts of a file, rendered for a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/counts.h"
#include "data/preferences.h"
#include "inference/model_folder.h"

namespace keel::inference {

// `policy` with at most `most` tokens.
data::RenderLimits limits_within(const RenderPolicy& policy, int64_t most);

// Tokens that an answer of `max_new_tokens` leaves to its prompt within `max_tokens`; UsageError for none.
int64_t room_for_prompt(int64_t max_tokens, int64_t max_new_tokens);

// Prompts of a JSONL file: {"messages"} (or {"prompt"}), with "hazard": true where the prompt is about safety.
struct Prompts {
  std::vector<nlohmann::json> rows;  // as in the file
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
