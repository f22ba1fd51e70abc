#include "engine/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace keel::engine {
namespace {

int64_t common_beginning(const core::Ids& a, const core::Ids& b) {
  const auto most = static_cast<std::ptrdiff_t>(std::min(a.size(), b.size()));
  return std::mismatch(a.begin(), a.begin() + most, b.begin()).first - a.begin();
}

int64_t pages_of(const Sequence& sequence) {
  return static_cast<int64_t>(sequence.pages.size());
}

}  // namespace

PrefixCache::PrefixCache(PagePool& pages, int64_t most_bytes) : pages_(pages), most_pages_(most_bytes / pages.page_bytes()) {}

Sequence PrefixCache::begin(const core::Ids& ids) {
  const std::lock_guard lock(mutex_);
  const auto next = kept_.lower_bound(ids);
  auto best = kept_.end();
  int64_t length = 0;
  const auto consider = [&](std::map<core::Ids, Kept>::iterator kept) {
    const int64_t equal = std::min(common_beginning(kept->first, ids), static_cast<int64_t>(ids.size()) - 1);
    if (equal <= length) return;
    best = kept;
    length = equal;
  };
  if (next != kept_.end()) consider(next);
  if (next != kept_.begin()) consider(std::prev(next));
  if (best == kept_.end()) return {};
  best->second.turn = turn_;
  best->second.used = ++clock_;
  return pages_.fork(best->second.sequence, length);
}

void PrefixCache::keep(core::Ids ids, Sequence sequence) {
  const std::lock_guard lock(mutex_);
  const auto next = kept_.lower_bound(ids);
  const bool known = next != kept_.end() && common_beginning(next->first, ids) == static_cast<int64_t>(ids.size());
  if (known || pages_of(sequence) > most_pages_) {
    pages_.release(sequence);
    return;
  }
  if (next != kept_.begin()) {  // the turn before
    const auto before = std::prev(next);
    if (common_beginning(before->first, ids) == static_cast<int64_t>(before->first.size())) drop(before);
  }
  while (kept_pages_ + pages_of(sequence) > most_pages_) {
    const auto oldest =
        std::ranges::min_element(kept_, {}, [](const auto& kept) { return std::pair(kept.second.turn, -kept.second.used); });
    if (oldest->second.turn == turn_) return pages_.release(sequence);
    drop(oldest);
  }
  kept_pages_ += pages_of(sequence);
  kept_.emplace(std::move(ids), Kept{std::move(sequence), turn_, ++clock_});
}

void PrefixCache::begin_turn() {
  const std::lock_guard lock(mutex_);
  ++turn_;
}

void PrefixCache::drop(std::map<core::Ids, Kept>::iterator kept) {
  kept_pages_ -= pages_of(kept->second.sequence);
  pages_.release(kept->second.sequence);
  kept_.erase(kept);
}

}  // namespace keel::engine
