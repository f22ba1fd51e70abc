#include "data/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <tuple>

#include "core/utf8.h"

namespace keel::data {
namespace {

uint64_t pair_key(int64_t left, int64_t right) {
  return (static_cast<uint64_t>(left) << 32) | static_cast<uint64_t>(right);
}

constexpr int64_t kNone = -1;

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<BpeMerge>& merges, const BpeOptions& options)
    : vocabulary_(std::move(vocabulary)), options_(options) {
  merges_.reserve(merges.size());
  int64_t rank = 0;
  for (const BpeMerge& merge : merges)
    merges_[pair_key(merge.left, merge.right)] = {rank++, merge.result};
  for (int byte = 0; byte < 256; ++byte) {
    const auto piece = vocabulary_.find(fmt::format("<0x{:02X}>", byte));
    byte_ids_.push_back(piece == vocabulary_.end() ? kNone : piece->second);
  }
}

const Bpe::Merged* Bpe::find(int64_t left, int64_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

core::Ids Bpe::characters(std::string_view word) const {
  core::Ids ids;
  bool after_unknown = false;
  for (size_t at = 0, length = 0; at < word.size(); at += length) {
    length = core::character_bytes(word[at]);
    const std::string_view character = word.substr(at, length);
    const auto byte_id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    if (const auto piece = vocabulary_.find(character); piece != vocabulary_.end()) {
      ids.push_back(piece->second);
    } else if (options_.byte_fallback && std::none_of(character.begin(), character.end(), [&](char c) { return byte_id(c) == kNone; })) {
      for (const char byte : character)
        ids.push_back(byte_id(byte));
    } else {
      if (options_.unknown && !(options_.fuse_unknown && after_unknown)) ids.push_back(*options_.unknown);
      after_unknown = true;
      continue;
    }
    after_unknown = false;
  }
  return ids;
}

// Applies merges until none is left. The ids form a linked list; a heap holds merges that were possible when pushed; outdated ones are
// skipped. Removed places become kNone.
void Bpe::merge_(core::Ids& ids) const {
  using Candidate = std::pair<int64_t, size_t>;  // rank, place of the left id: the smallest comes first
  std::vector<Candidate> possible;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    if (const Merged* merged = find(ids[i], ids[i + 1])) possible.emplace_back(merged->rank, i);
  }
  if (possible.empty()) return;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap(std::greater<>(), std::move(possible));

  const size_t end = ids.size();
  std::vector<size_t> previous(end), next(end);
  for (size_t i = 0; i < end; ++i) {
    previous[i] = i == 0 ? end : i - 1;
    next[i] = i + 1;
  }
  const auto push = [&](size_t left, size_t right) {
    if (left == end || right == end) return;
    if (const Merged* merged = find(ids[left], ids[right])) heap.emplace(merged->rank, left);
  };
  while (!heap.empty()) {
    const auto [rank, left] = heap.top();
    heap.pop();
    if (ids[left] == kNone || next[left] == end) continue;
    const size_t right = next[left];
    const Merged* merged = find(ids[left], ids[right]);
    if (merged == nullptr || merged->rank != rank) continue;
    ids[left] = merged->result;
    ids[right] = kNone;
    next[left] = next[right];
    if (next[left] != end) previous[next[left]] = left;
    push(previous[left], left);
    push(left, next[left]);
  }
  std::erase(ids, kNone);
}

void Bpe::encode(std::string_view word, core::Ids& ids) const {
  if (options_.whole_words) {
    if (const auto piece = vocabulary_.find(word); piece != vocabulary_.end()) {
      ids.push_back(piece->second);
      return;
    }
  }
  core::Ids symbols = characters(word);
  merge_(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

}  // namespace keel::data
