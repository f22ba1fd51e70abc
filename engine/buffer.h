// Memory for numbers that are read again and again.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace keel::engine {

// `count` floats, at first of any value, aligned to a line of the cache; large ones on huge pages where the system has some.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) {
    constexpr size_t kLine = 64, kHuge = size_t{1} << 21;
    const size_t bytes = static_cast<size_t>(count) * sizeof(float), unit = bytes >= 4 * kHuge ? kHuge : kLine;
    const size_t whole = (bytes + unit - 1) / unit * unit;
    data_.reset(static_cast<float*>(std::aligned_alloc(unit, whole == 0 ? unit : whole)));
    if (data_ == nullptr) throw std::bad_alloc();
    if (unit == kHuge) ::madvise(data_.get(), whole, MADV_HUGEPAGE);  // a wish
    size_ = count;
  }
  static Buffer zeros(int64_t count) {
    Buffer buffer(count);
    std::fill_n(buffer.data(), count, 0.f);
    return buffer;
  }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  void grow(int64_t count) {  // what it held is lost
    if (count > size_) *this = Buffer(count);
  }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float, Free> data_;
  int64_t size_ = 0;
};

}  // namespace keel::engine
