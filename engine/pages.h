// Keys and values of sequences, in pages of kPage positions that sequences with a common beginning share.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "engine/buffer.h"
#include "engine/model.h"

namespace keel::engine {

// A sequence's positions 0..length-1. Belongs to the pool that made it.
struct Sequence {
  std::vector<float*> pages;
  std::vector<int64_t> numbers;  // of its pages in the pool
  int64_t length = 0;
};

// May be used by several threads at once, each with sequences of its own.
//
// A page holds, for every layer and every head of keys, the keys [h, kPage] and then the values [kPage, h rounded up to kLanes].
class PagePool {
 public:
  PagePool(const Shape& shape, int64_t layers);

  int64_t offset(int64_t layer, int64_t key_head) const { return (layer * key_heads_ + key_head) * head_floats_; }

  void extend(Sequence& sequence, int64_t length);        // room for positions up to `length`
  Sequence fork(const Sequence& parent, int64_t length);  // its first positions; a last page that is not full is copied
  void release(Sequence& sequence);

  int64_t pages_in_use() const;
  int64_t page_bytes() const { return page_floats_ * static_cast<int64_t>(sizeof(float)); }

 private:
  int64_t take();  // with the lock

  int64_t key_heads_, head_floats_, page_floats_;
  mutable std::mutex mutex_;
  std::vector<Buffer> pages_;
  std::vector<int64_t> users_, free_;
};

}  // namespace keel::engine
