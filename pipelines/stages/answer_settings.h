// What the stages share whose data a model answers: Ghost Attention and distillation.
#pragma once

#include <filesystem>
#include <string>

#include "inference/dialogues.h"
#include "pipelines/recipe/recipe.h"

namespace keel::pipelines::stages {

struct AnswerSettings {
  recipe::AnswerConfig answers;
  std::string chat_format;
  inference::DialogueLimit limit;
  int64_t version = 1;
};

inline void visit(AnswerSettings& settings, core::Fields& fields) {
  visit(settings.answers, fields);
  fields("chat_format", settings.chat_format, "chat format; empty = the model folder's own");
  fields.section("limit", settings.limit, "dialogues that do not fit, and tags in messages");
  fields("version", settings.version, "N of the version VN that learns the answers: each draws its own", core::between(1, 1e6));
}

// A text that stands in prompts. DataError, naming file, line and field, for one with a tag of the model's chat format, and for one that
// leaves no room for anything else within `most` tokens.
void check_prompt_text(const std::string& text, const std::string& field, const std::filesystem::path& file, int64_t line,
                       const inference::LanguageModel& model, int64_t most, bool allow_tags);

}  // namespace keel::pipelines::stages
