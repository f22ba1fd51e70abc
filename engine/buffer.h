// Memory for numbers that are read again and again.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace keel::engine {

// `count` numbers, at first of any value, aligned to a line of the cache; large ones on huge pages where the system has some.
template <class Number>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t count) {
    constexpr size_t kLine = 64, kHuge = size_t{1} << 21;
    const size_t bytes = static_cast<size_t>(count) * sizeof(Number), unit = bytes >= 4 * kHuge ? kHuge : kLine;
    const size_t whole = (bytes + unit - 1) / unit * unit;
    data_.reset(static_cast<Number*>(std::aligned_alloc(unit, whole == 0 ? unit : whole)));
    if (data_ == nullptr) throw std::bad_alloc();
    if (unit == kHuge) ::madvise(data_.get(), whole, MADV_HUGEPAGE);  // a wish
    size_ = count;
  }
  static Array zeros(int64_t count) {
    Array array(count);
    std::fill_n(array.data(), count, Number{});
    return array;
  }
  Number* data() { return data_.get(); }
  const Number* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  void grow(int64_t count) {  // what it held is lost
    if (count > size_) *this = Array(count);
  }

 private:
  struct Free {
    void operator()(Number* data) const { std::free(data); }
  };
  std::unique_ptr<Number, Free> data_;
  int64_t size_ = 0;
};

using Buffer = Array<float>;

}  // namespace keel::engine
