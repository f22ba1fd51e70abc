// The phrases by which a chat model refuses, as an ordered table: a transparent baseline for English answers.
#pragma once

#include <string>
#include <vector>

namespace keel::refusal {

enum class Says {
  nothing,     // reads like a refusal and is none
  limit,       // the model is not able to: no access, no senses, no knowledge
  refusal,     // the model does not want to, or may not
  lesson,      // a moral remark where an answer should stand
  correction,  // does not answer as asked, because the question rests on an error
};

struct Rule {
  std::string name;
  Says says;
  size_t opening;       // it is looked for in this many sentences from the start; kAnywhere: in all; kAlone: in an answer of one sentence
  std::string pattern;  // PCRE2, over one sentence of own_voice()
  std::string reason;   // why such a sentence counts as this
};
inline constexpr size_t kAnywhere = static_cast<size_t>(-1), kAlone = 0;

// A sentence says what the first rule that matches it says.
const std::vector<Rule>& rules();

// What withholds an answer on principle. A limit beside it is a refusal: "I do not have access to personal data, I respect privacy".
const std::string& principle();

// Where an answer turns from declining to content: "however, in general", "here are some tips".
const std::string& turn_to_content();

// Sentences that are no content though they follow such a turn: offers of other help, places to turn to, lessons.
const std::string& courtesy();

}  // namespace keel::refusal
