// Token sequences as text for people.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.h"
#include "data/tokenizer.h"

namespace keel::data {

// The text of a special token, "</s>"; "<id 31999>" for an id that has no text.
std::string special_text(const Tokenizer& tokenizer, int64_t id);

// Neighbouring ids that are alike.
struct TokenRun {
  std::string text;      // that the ids add to the text before them; of a special id its own
  bool special = false;  // one special id, which decoding leaves out
  bool learned = false;  // a target of the loss
};
std::vector<TokenRun> token_runs(const Tokenizer& tokenizer, const core::TokenSequence& sequence);

}  // namespace keel::data
