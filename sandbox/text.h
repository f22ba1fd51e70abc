// Cuts any text into sentences of plain words, the form in which the judges read an answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sandbox/words.h"

namespace keel::sandbox {

struct Sentence {
  Words words;         // lower case; letters, digits and all non-ASCII bytes are word characters, the rest separates
  bool ended = false;  // closed by '.', '!' or '?'
};

// Sentences without a word are left out. Never throws, whatever the bytes.
std::vector<Sentence> split_sentences(std::string_view text);

Words plain_words(std::string_view text);  // the words of all sentences
bool starts_with(const Words& words, const Words& prefix);
bool ends_with(const Words& words, const Words& suffix);
bool contains_in_order(const Words& words, const Words& wanted);  // wanted is a subsequence of words
std::string capitalised(std::string text);

}  // namespace keel::sandbox
