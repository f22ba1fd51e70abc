#include "data/bpe_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "data/utf8.h"

namespace keel::data {
namespace {

// Matches the longest of `words` at the leftmost place; nothing when there are none.
std::optional<Pattern> any_of(const Vocabulary& words) {
  std::vector<std::string> sorted;
  for (const auto& [word, id] : words)
    sorted.push_back(word);
  std::sort(sorted.begin(), sorted.end(),
            [](const std::string& a, const std::string& b) { return a.size() > b.size() || (a.size() == b.size() && a < b); });
  std::string expression;
  for (const std::string& word : sorted)
    expression += (expression.empty() ? "" : "|") + Pattern::quoted(word);
  if (expression.empty()) return std::nullopt;
  return Pattern(expression);
}

// Calls text(part, offset) and word(id) for what lies between the words and for the words, in order.
template <class Text, class Word>
void around_words(const std::optional<Pattern>& pattern, const Vocabulary& words, std::string_view whole, Text text, Word word) {
  size_t reached = 0;
  const std::vector<Span> matches = pattern ? pattern->matches(whole) : std::vector<Span>();
  for (const Span& match : matches) {
    if (match.begin > reached) text(whole.substr(reached, match.begin - reached), reached);
    word(words.find(whole.substr(match.begin, match.end - match.begin))->second);
    reached = match.end;
  }
  if (reached < whole.size()) text(whole.substr(reached), reached);
}

constexpr size_t kLongestRemembered = 32;  // bytes: words of a text repeat, whole texts without blanks do not

}  // namespace

BpeTokenizer::BpeTokenizer(BpeParts parts, std::optional<int64_t> bos, std::optional<int64_t> eos, std::optional<int64_t> pad,
                           bool adds_bos)
    : parts_(std::move(parts)), is_special_(parts_.pieces.size(), false) {
  bos_ = bos;
  eos_ = eos;
  pad_ = pad;
  adds_bos_ = adds_bos;
  for (const AddedToken& token : parts_.added) {
    if (token.special) {
      is_special_[static_cast<size_t>(token.id)] = true;
      specials_[token.text] = token.id;
    } else if (token.normalized) {
      found_normal_[parts_.normalize(token.text)] = token.id;
    } else {
      found_raw_[token.text] = token.id;
    }
  }
  raw_ = any_of(found_raw_);
  normal_ = any_of(found_normal_);
}

core::Ids BpeTokenizer::encode(std::string_view text) const {
  require_utf8(text);
  core::Ids ids;
  std::unordered_map<std::string, core::Ids> remembered;
  const auto encode_word = [&](const std::string& word) {
    if (word.size() > kLongestRemembered) return parts_.bpe.encode(word, ids);
    const auto [place, is_new] = remembered.try_emplace(word);
    if (is_new) parts_.bpe.encode(word, place->second);
    ids.insert(ids.end(), place->second.begin(), place->second.end());
  };
  const auto append = [&](int64_t id) { ids.push_back(id); };
  around_words(
      raw_, found_raw_, text,
      [&](std::string_view part, size_t offset) {
        const std::string normal = parts_.normalize(std::string(part));
        around_words(
            normal_, found_normal_, normal,
            [&](std::string_view rest, size_t inner) {
              for (const std::string& word : parts_.cut(std::string(rest), offset + inner == 0))
                encode_word(word);
            },
            append);
      },
      append);
  return ids;
}

std::string BpeTokenizer::decode(const core::Ids& ids) const {
  std::vector<std::string> pieces;
  for (const int64_t id : ids) {
    if (id < 0 || id >= vocab_size()) throw std::out_of_range(fmt::format("ids must be 0..{}, got {}", vocab_size() - 1, id));
    if (!is_special_[static_cast<size_t>(id)]) pieces.push_back(parts_.pieces[static_cast<size_t>(id)]);
  }
  return parts_.decode(std::move(pieces));
}

std::optional<int64_t> BpeTokenizer::special(std::string_view text) const {
  const auto found = specials_.find(text);
  return found == specials_.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

}  // namespace keel::data
