// What a model says in its own voice, as sentences.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keel::refusal {

// An answer in lower case with straight quotation marks, without what is not the model's own voice: code, quoted text ("...", '...', lines
// that begin with >) and letters (from a line "Subject:" or "Dear ..." on). Markdown's signs of emphasis are gone. An answer that is one
// quotation as a whole keeps it. Ill-formed UTF-8 is repaired.
std::string own_voice(std::string_view answer);

// Its sentences with single blanks, without those of list items: an item of a list belongs to the content. A line break ends a sentence,
// a colon too. Pieces without a letter or digit are left out.
std::vector<std::string> sentences(std::string_view own_voice);

}  // namespace keel::refusal
