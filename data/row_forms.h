// What a row of a data file is: for commands that describe files of any form.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "data/chat_format.h"
#include "data/tokenizer.h"

namespace keel::data {

struct FormedRow {
  std::string form;                          // "demonstration", "preference pair", "prompt", "rating" ...; see formed_row()
  core::Dialogue dialogue = {};              // with the answer, or the chosen one; empty for forms that hold none
  std::optional<core::Dialogue> other = {};  // with the rejected answer
  std::string text = {};                     // of a document, an instruction, a preprompt, a table's answer
  std::optional<core::Ids> ids = {};
  std::string dropped = {};  // why commands leave the row out (formats.md, "What is dropped"); "" if they do not
};

// The first of these that fits, by the readers that the commands use:
//   "preference pair"           parse_preference()
//   "red-team event", "rating", "comparison", "labelled answer", "instruction", "preprompt"
//   "demonstration", "document" parse_demonstration(); a document is plain text
//   "answer"                    a prompt with a "response", for score
//   "prompt", "ids"             parse_prompt_record()
//   "score", "metrics", "event", "lineage"   what keel writes itself
// Throws std::invalid_argument for a row of none of these forms, naming its keys, and what the readers throw for a malformed one.
FormedRow formed_row(const nlohmann::json& row);

// The row's texts together, without a chat format.
int64_t characters(const FormedRow& row);

// The row as a model reads it: dialogues in the chat format, the loss on what sft learns of a demonstration and on the compared answers of
// a pair; documents with BOS and EOS; without a chat format prompts as raw text. Two for a pair. Nothing for forms that hold no text.
// Tags in messages are kept as plain text where `tags` allows it. Throws what render() throws.
std::vector<core::TokenSequence> rendered_row(const FormedRow& row, const ChatFormat& format, const Tokenizer& tokenizer, TagPolicy tags);

}  // namespace keel::data
