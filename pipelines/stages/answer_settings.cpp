#include "pipelines/stages/answer_settings.h"

#include <fmt/format.h>

#include "core/error.h"

namespace keel::pipelines::stages {

void check_prompt_text(const std::string& text, const std::string& field, const std::filesystem::path& file, int64_t line,
                       const inference::LanguageModel& model, int64_t most, bool allow_tags) {
  if (!allow_tags && data::holds_tag(model.format, text))
    throw core::DataError(
        file, line,
        fmt::format("\"{}\" holds a tag of the chat format {}, which would begin or end a turn; take it out", field, model.format.name));
  if (const auto tokens = std::ssize(model.tokenizer->encode(text)); tokens >= most)
    throw core::DataError(
        file, line, fmt::format("\"{}\" has {} tokens, and no dialogue with it fits the limit of {}; shorten it", field, tokens, most));
}

}  // namespace keel::pipelines::stages
