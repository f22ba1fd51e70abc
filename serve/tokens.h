// What a model's tokenizer makes of a text or a dialogue, for POST /tokenize.
#pragma once

#include <vector>

#include "serve/dialects/asked.h"
#include "serve/models.h"

namespace keel::serve {

// The ids that the model would read, uncut: of a plain text, or of a dialogue, which may end with a user turn. Throws dialects::Refused.
std::vector<dialects::Token> listed_tokens(const ServedModel& model, const dialects::Item& item);

// `ids` with their text and their places in `text`, which they are of. Ids that hold parts of one character share its place;
// special ids have none, and without a text none has.
std::vector<dialects::Token> placed_tokens(const data::Tokenizer& tokenizer, const core::Ids& ids, std::string_view text);

}  // namespace keel::serve
