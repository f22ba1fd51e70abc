#include "data/token_runs.h"

#include <fmt/format.h>

#include <algorithm>

namespace keel::data {
namespace {

// A model may have more ids than its tokenizer.
bool has_no_text(const Tokenizer& tokenizer, int64_t id) {
  return id >= tokenizer.vocab_size() || tokenizer.is_special(id);
}

// What the ids from `begin` to `end` add to the text of those before them. Decoded alone they would lose a leading blank.
std::string added_text(const Tokenizer& tokenizer, const core::Ids& ids, size_t begin, size_t end) {
  core::Ids known;
  size_t before = 0;
  for (size_t i = 0; i < end; ++i) {
    if (i == begin) before = known.size();
    if (!has_no_text(tokenizer, ids[i])) known.push_back(ids[i]);
  }
  const std::string whole = tokenizer.decode(known);
  known.resize(before);
  const std::string head = tokenizer.decode(known);
  auto from = std::mismatch(head.begin(), head.end(), whole.begin(), whole.end()).second;
  while (from != whole.end() && from != whole.begin() && (static_cast<unsigned char>(*from) & 0xC0) == 0x80)
    --from;  // a character that both share belongs to the ids that complete it
  return {from, whole.end()};
}

}  // namespace

std::string special_text(const Tokenizer& tokenizer, int64_t id) {
  for (const std::string& text : tokenizer.special_texts())
    if (tokenizer.special(text) == id) return text;
  return fmt::format("<id {}>", id);
}

std::vector<TokenRun> token_runs(const Tokenizer& tokenizer, const core::TokenSequence& sequence) {
  std::vector<TokenRun> runs;
  const core::Ids& ids = sequence.ids;
  for (size_t begin = 0, end = 0; begin < ids.size(); begin = end) {
    const bool special = has_no_text(tokenizer, ids[begin]), learned = sequence.loss_mask[begin];
    end = begin + 1;
    while (!special && end < ids.size() && !has_no_text(tokenizer, ids[end]) && sequence.loss_mask[end] == learned)
      ++end;
    runs.push_back({.text = special ? special_text(tokenizer, ids[begin]) : added_text(tokenizer, ids, begin, end),
                    .special = special,
                    .learned = learned});
  }
  return runs;
}

}  // namespace keel::data
