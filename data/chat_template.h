// Jinja chat templates, as far as keel needs them: which of its own chat formats one writes. There is no interpreter: a template is
// compared, piece by piece, with the forms in which the formats are commonly written.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "data/chat_format.h"

namespace keel::data {

struct ChatTemplate {
  std::string text;
  std::string origin;  // where it stands: "FOLDER/chat_template.jinja"
};

// The template of a folder (chat_template.jinja, chat_template.json, tokenizer_config.json; of several named ones "default") or of a
// GGUF file. DataError for a template that is no text.
std::optional<ChatTemplate> find_chat_template(const std::filesystem::path& path);

// The format that the template writes. One that is not recognised in full is warned about, naming the format read in its place, if there
// is one, and the text that it would leave out.
ChatFormat format_of_template(const ChatTemplate& chat_template);

}  // namespace keel::data
