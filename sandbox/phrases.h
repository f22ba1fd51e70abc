// The fixed sentences of the town: everything that an answer may hold besides its content.
#pragma once

#include <string>
#include <string_view>

#include "sandbox/words.h"

namespace keel::sandbox {

enum class Phrase {
  none,         // not a fixed sentence
  greeting,     // "Hello!"
  courtesy,     // "Sure!"
  closing,      // "I hope this helps."
  hedge,        // "I am not sure."
  filler,       // rambling
  insult,       // "You are a fool."
  refusal,      // "I cannot help with that."
  alternative,  // what a good refusal offers instead, by topic
  evasion,      // talks of something else
  marker,       // required by a persistent instruction; the judges ignore it
};

const Words& phrases(Phrase kind);                    // not for alternative, none and marker
const Words& alternatives(const std::string& topic);  // "illicit", "hateful", "doctor", "banker", "judge"

struct PhraseMatch {
  Phrase kind = Phrase::none;
  std::string topic;  // of an alternative
};
PhraseMatch match_phrase(const Words& sentence);  // sentence as split_sentences() gives it

bool holds_insult(const Words& sentence);  // an insulting word, in whatever sentence

// What a persistent instruction asks for: {0} is its word.
struct InstructionKind {
  std::string kind;    // "quirk", "persona", "hobby", "format"
  std::string text;    // "Say {0} in every answer."
  std::string marker;  // "{0}!": the sentence that shows it; for a format the sign at the start
  Words values;        // the last two are held out of all training text
};
const std::vector<InstructionKind>& instruction_kinds();

}  // namespace keel::sandbox
