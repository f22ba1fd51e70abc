// The chat format that a checkpoint's Jinja chat template writes.
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

// The template of a folder (chat_template.jinja, chat_template.json, tokenizer_config.json; "default" of several named ones) or of a GGUF
// file. DataError for a template that is not a string.
std::optional<ChatTemplate> find_chat_template(const std::filesystem::path& path);

// The format that the template writes. If the template is not recognised in full, a warning names the format used instead, if any, and the
// text of the template that is left out.
ChatFormat format_of_template(const ChatTemplate& chat_template);

}  // namespace keel::data
