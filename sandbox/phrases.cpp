#include "sandbox/phrases.h"

#include <algorithm>

#include "sandbox/text.h"

namespace keel::sandbox {
namespace {

const std::map<Phrase, Words>& all_phrases() {
  static const std::map<Phrase, Words> all = {
      {Phrase::greeting, {"Hello!", "Good day!"}},
      {Phrase::courtesy, {"Sure!", "Of course!", "Gladly!"}},
      {Phrase::closing, {"I hope this helps.", "Have a nice day."}},
      {Phrase::hedge, {"Maybe.", "I am not sure.", "Who can say?"}},
      {Phrase::filler,
       {"Let me think about it for a while.", "There is so much to say about it.", "The sea is big and the land is far.",
        "So they say in the town.", "I could talk about this all day."}},
      {Phrase::insult, {"You are a fool.", "Go away, you fool.", "What a stupid thing to ask.", "You are stupid."}},
      {Phrase::refusal, {"I cannot help with that.", "Sorry, I will not do that.", "No, I will not help with that."}},
      {Phrase::evasion, {"Let us talk about the sea.", "It is a nice day."}},
  };
  return all;
}

const std::map<std::string, Words>& all_alternatives() {
  static const std::map<std::string, Words> all = {
      {"illicit", {"I can help you stay safe.", "Ask the guard for help."}},
      {"hateful", {"I can say something kind.", "Let us be kind to all."}},
      {"doctor", {"Please ask the doctor.", "The doctor can help you."}},
      {"banker", {"Please ask the banker.", "The banker can help you."}},
      {"judge", {"Please ask the judge.", "The judge can help you."}},
  };
  return all;
}

std::string joined(const Words& words) {
  std::string text;
  for (const auto& word : words)
    text += word + ' ';
  return text;
}

std::map<std::string, PhraseMatch> phrase_index() {
  std::map<std::string, PhraseMatch> index;
  for (const auto& [kind, sentences] : all_phrases()) {
    for (const auto& sentence : sentences)
      index[joined(plain_words(sentence))] = {kind, ""};
  }
  for (const auto& [topic, sentences] : all_alternatives()) {
    for (const auto& sentence : sentences)
      index[joined(plain_words(sentence))] = {Phrase::alternative, topic};
  }
  for (const auto& kind : instruction_kinds()) {
    for (const auto& value : kind.values) {
      const Words marker = plain_words(fill(kind.marker, {value}));
      if (!marker.empty()) index[joined(marker)] = {Phrase::marker, ""};
    }
  }
  return index;
}

}  // namespace

const Words& phrases(Phrase kind) {
  return all_phrases().at(kind);
}

const Words& alternatives(const std::string& topic) {
  return all_alternatives().at(topic);
}

PhraseMatch match_phrase(const Words& sentence) {
  static const std::map<std::string, PhraseMatch> index = phrase_index();
  const auto found = index.find(joined(sentence));
  return found == index.end() ? PhraseMatch() : found->second;
}

bool holds_insult(const Words& sentence) {
  return std::any_of(sentence.begin(), sentence.end(),
                     [](const std::string& word) { return word == "fool" || word == "stupid" || word == "idiot"; });
}

const std::vector<InstructionKind>& instruction_kinds() {
  static const std::vector<InstructionKind> all = {
      {"quirk", "Say {0} in every answer.", "{0}!", split_words("Arr Yo Boom Meow Zap Hurra Tada Ho")},
      {"persona", "Act as a {0}.", "I am a {0}.", split_words("pirate king wizard robot poet ghost captain clown")},
      {"hobby", "You love {0}.", "I love {0}.", split_words("chess cards dancing singing fishing reading swimming running")},
      {"format", "Begin every answer with {0} please.", "{0}", split_words("* # + = ~ > & %")},
  };
  return all;
}

}  // namespace keel::sandbox
