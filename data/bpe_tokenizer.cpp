#include "data/bpe_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "core/utf8.h"

namespace keel::data {
namespace {

void add_word_(WordList& words, const std::string& word, int64_t id) {
  if (!word.empty()) words[static_cast<unsigned char>(word[0])].emplace_back(word, id);
}

void longest_first_(WordList& words) {
  for (auto& list : words) {
    std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
  }
}

// Calls word(id) for each found word and text(part, offset) for the text between them, in order.
template <class Text, class Word>
void around_words(const WordList& words, std::string_view whole, Text text, Word word) {
  size_t reached = 0;
  for (size_t at = 0; at < whole.size();) {
    const auto& candidates = words[static_cast<unsigned char>(whole[at])];
    const auto found =
        std::find_if(candidates.begin(), candidates.end(), [&](const auto& item) { return whole.substr(at).starts_with(item.first); });
    if (found == candidates.end()) {
      ++at;
      continue;
    }
    if (at > reached) text(whole.substr(reached, at - reached), reached);
    word(found->second);
    reached = at += found->first.size();
  }
  if (reached < whole.size()) text(whole.substr(reached), reached);
}

constexpr size_t kLongestRemembered = 32;  // bytes: words of a text repeat, whole texts without blanks do not

}  // namespace

BpeTokenizer::BpeTokenizer(BpeParts parts, std::optional<int64_t> bos, std::optional<int64_t> eos, std::optional<int64_t> pad,
                           std::optional<int64_t> start)
    : parts_(std::move(parts)), is_special_(parts_.pieces.size(), false) {
  bos_ = bos;
  eos_ = eos;
  pad_ = pad;
  start_ = start;
  for (const AddedToken& token : parts_.added) {
    if (token.special) {
      is_special_[static_cast<size_t>(token.id)] = true;
      specials_[token.text] = token.id;
    } else if (token.normalized) {
      add_word_(found_normal_, parts_.normalize(token.text), token.id);
    } else {
      add_word_(found_raw_, token.text, token.id);
    }
  }
  longest_first_(found_raw_);
  longest_first_(found_normal_);
}

core::Ids BpeTokenizer::encode_at(std::string_view text, bool at_start) const {
  core::require_utf8(text);
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
      found_raw_, text,
      [&](std::string_view part, size_t offset) {
        const std::string normal = parts_.normalize(std::string(part));
        around_words(
            found_normal_, normal,
            [&](std::string_view rest, size_t inner) {
              for (const std::string& word : parts_.cut(std::string(rest), at_start && offset + inner == 0))
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

bool BpeTokenizer::trims(int64_t id) const {
  return std::any_of(parts_.added.begin(), parts_.added.end(), [&](const AddedToken& token) { return token.id == id && token.trims; });
}

std::optional<int64_t> BpeTokenizer::special(std::string_view text) const {
  const auto found = specials_.find(text);
  return found == specials_.end() ? std::nullopt : std::optional<int64_t>(found->second);
}

std::vector<std::string> BpeTokenizer::special_texts() const {
  std::vector<std::string> texts;
  for (const auto& [text, id] : specials_)
    texts.push_back(text);
  return texts;
}

}  // namespace keel::data
