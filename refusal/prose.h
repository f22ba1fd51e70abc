// What a model says in its own voice, as sentences.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace keel::refusal {

// An answer in lower case, without what is not the model's own voice: code, quoted text ("...", '...', lines that begin with >), letters
// (from a line "Subject:" or "Dear ..." on, or up to "Sincerely,") and what follows "here is the letter:" and its like. Quotation marks are
// straight, contractions are written out ("cannot", "i am"); a label "Answer:" before it all and Markdown's signs of emphasis are gone. An
// answer that is one quotation as a whole keeps it. Ill-formed UTF-8 is repaired.
std::string own_voice(std::string_view answer);

struct Sentence {
  std::string text;     // with single blanks, from its first letter or digit on
  bool listed = false;  // an item of a list, not alone: belongs to the content, and says nothing of the model
};
// A line break ends a sentence, a colon too; one of more than kSentenceBytes is cut at a blank, so that the rules' cost is linear, and a
// word of more is left out. So are pieces without a letter or digit.
std::vector<Sentence> sentences(std::string_view own_voice);
inline constexpr size_t kSentenceBytes = 600;

}  // namespace keel::refusal
