#include "sandbox/text.h"

#include <algorithm>

namespace keel::sandbox {

std::vector<Sentence> split_sentences(std::string_view text) {
  std::vector<Sentence> sentences(1);
  std::string word;
  const auto close_word = [&] {
    if (!word.empty()) sentences.back().words.push_back(word);
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c >= 'A' && c <= 'Z') {
      word += static_cast<char>(c - 'A' + 'a');
    } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || byte >= 0x80) {
      word += c;
    } else {
      close_word();
      if ((c == '.' || c == '!' || c == '?') && !sentences.back().words.empty()) {
        sentences.back().ended = true;
        sentences.emplace_back();
      }
    }
  }
  close_word();
  if (sentences.back().words.empty()) sentences.pop_back();
  return sentences;
}

Words plain_words(std::string_view text) {
  Words words;
  for (const auto& sentence : split_sentences(text))
    words.insert(words.end(), sentence.words.begin(), sentence.words.end());
  return words;
}

bool starts_with(const Words& words, const Words& prefix) {
  return words.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), words.begin());
}

bool ends_with(const Words& words, const Words& suffix) {
  return words.size() >= suffix.size() && std::equal(suffix.rbegin(), suffix.rend(), words.rbegin());
}

bool contains_in_order(const Words& words, const Words& wanted) {
  size_t found = 0;
  for (const auto& word : words)
    found += found < wanted.size() && word == wanted[found] ? 1 : 0;
  return found == wanted.size();
}

std::string capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

}  // namespace keel::sandbox
