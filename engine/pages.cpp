#include "engine/pages.h"

#include <algorithm>

namespace keel::engine {

PagePool::PagePool(const Shape& shape, int64_t layers)
    : key_heads_(shape.key_heads),
      head_floats_(kPage * (shape.head_size + round_up(shape.head_size, kLanes))),
      page_floats_(layers * key_heads_ * head_floats_) {}

int64_t PagePool::take() {
  if (free_.empty()) {
    pages_.push_back(Buffer::zeros(page_floats_));
    users_.push_back(0);
    free_.push_back(static_cast<int64_t>(pages_.size()) - 1);
  }
  const int64_t page = free_.back();
  free_.pop_back();
  users_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::extend(Sequence& sequence, int64_t length) {
  sequence.length = length;
  if (static_cast<int64_t>(sequence.pages.size()) * kPage >= length) return;
  const std::lock_guard lock(mutex_);
  while (static_cast<int64_t>(sequence.pages.size()) * kPage < length) {
    const int64_t page = take();
    sequence.numbers.push_back(page);
    sequence.pages.push_back(pages_[static_cast<size_t>(page)].data());
  }
}

Sequence PagePool::fork(const Sequence& parent, int64_t length) {
  const auto count = static_cast<std::ptrdiff_t>(round_up(length, kPage) / kPage);
  Sequence child{.pages = {parent.pages.begin(), parent.pages.begin() + count},
                 .numbers = {parent.numbers.begin(), parent.numbers.begin() + count},
                 .length = length};
  const std::lock_guard lock(mutex_);
  for (const int64_t page : child.numbers)
    ++users_[static_cast<size_t>(page)];
  if (length % kPage != 0) {
    const int64_t shared = child.numbers.back(), own = take();
    --users_[static_cast<size_t>(shared)];
    std::copy_n(pages_[static_cast<size_t>(shared)].data(), page_floats_, pages_[static_cast<size_t>(own)].data());
    child.numbers.back() = own;
    child.pages.back() = pages_[static_cast<size_t>(own)].data();
  }
  return child;
}

void PagePool::release(Sequence& sequence) {
  const std::lock_guard lock(mutex_);
  for (const int64_t page : sequence.numbers)
    if (--users_[static_cast<size_t>(page)] == 0) free_.push_back(page);
  sequence = {};
}

int64_t PagePool::pages_in_use() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(pages_.size() - free_.size());
}

}  // namespace keel::engine
