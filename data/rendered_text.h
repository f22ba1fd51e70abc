// Dialogues that another program has rendered: text in which special tokens stand as they are spelt.
#pragma once

#include <string_view>

#include "core/types.h"
#include "data/tokenizer.h"

namespace keel::data {

// Ids of such a text, nothing added. The texts of special tokens become their ids, the longest first; what lies between is encoded as after
// a special token. Where the tokenizer itself puts a blank there (Llama 2), one leading blank is not encoded again: decoders show it.
// For text of trainers alone: a user who types "</s>" here ends the dialogue. Throws std::invalid_argument for invalid UTF-8.
core::Ids rendered_text_ids(const Tokenizer& tokenizer, std::string_view text);

}  // namespace keel::data
