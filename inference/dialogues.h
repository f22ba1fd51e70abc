// Dialogues of a file, and a model's answers to dialogues as text: what folders that work on text are handed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "inference/model_folder.h"
#include "policy/generator.h"

namespace keel::inference {

// A dialogue that grows turn by turn is never shortened: it ends where the next answer would not fit.
struct DialogueLimit {
  int64_t max_tokens = 0;   // answer included; 0 = the model's context
  bool allow_tags = false;  // keep tags as plain text: for prompts that models wrote
};

inline void visit(DialogueLimit& limit, core::Fields& fields) {
  fields("max_tokens", limit.max_tokens, "longest dialogue, answer included; 0 = the model's context", core::at_least(0));
  fields("allow_tags", limit.allow_tags, "keep chat-format tags in messages as plain text instead of refusing them");
}

// The longest dialogue in tokens.
int64_t most_tokens(const DialogueLimit& limit, const LanguageModel& model);

// Rows {"messages"}, or {"prompt"} for a single turn. DataError with file:line for malformed rows, roles out of turn, a user turn of blanks
// alone, and, unless `limit` allows them, tags of the chat format in a system or user turn.
std::vector<core::Dialogue> read_dialogues(const std::filesystem::path& path, const data::ChatFormat& format, const DialogueLimit& limit);

// How answers are drawn. An answer's draws are keyed by (seed, purpose, record).
struct AnswerJob {
  policy::SamplingConfig sampling = {};
  int64_t batch_rows = 64;
  DialogueLimit limit = {};
  uint64_t seed = 0;
  std::string purpose = {};
  std::string label = {};             // for progress, and the folder of finished shards (policy/shards.h)
  std::filesystem::path folder = {};  // a kill loses one shard there
};

// Answers to `prompts`, dialogues that end with a user turn; tags in them are plain text. Nothing for a prompt that leaves no room for a
// token; an answer that reaches the limit counts as unfinished. `generator`: of model.llama.
std::vector<std::optional<core::Answer>> answer_dialogues(const LanguageModel& model, policy::Generator& generator,
                                                          const std::vector<core::Dialogue>& prompts, const std::vector<int64_t>& records,
                                                          const AnswerJob& job);

// Scores (raw) of dialogues that end with an answer, rendered as the model's training did; tags in them are plain text. Nothing for one
// that does not fit.
std::vector<std::optional<double>> score_dialogues(const ScoringModel& model, const std::vector<core::Dialogue>& answered);

}  // namespace keel::inference
