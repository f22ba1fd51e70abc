// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//
// A draw depends only on (seed, purpose, record, index) and its position in the stream, never on the order or size of a batch, the thread
// count or an interruption.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace keel::core {

// The bijection itself, for the published test vectors.
std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// 64-bit FNV-1a of a text: the `purpose` part of a key, and ids of records known by name.
uint64_t text_key(std::string_view text);

class Stream {
 public:
  // The key is (seed, purpose); the counter starts at (record, index). Streams that differ in any of the four are independent.
  Stream(uint64_t seed, std::string_view purpose, uint64_t record = 0, uint64_t index = 0);

  uint32_t next();             // 32 random bits
  double uniform();            // [0, 1), 53 bits
  double normal();             // mean 0, variance 1 (Box-Muller, one value per two draws)
  uint64_t below(uint64_t n);  // 0..n-1 without bias; n must be positive
  bool chance(double probability) { return uniform() < probability; }

  template <class T>
  const T& pick(const std::vector<T>& items) {
    return items[below(items.size())];
  }

  template <class T>
  void shuffle(std::vector<T>& items) {  // Fisher-Yates
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_;
  int used_ = 4;
};

// The order of `count` records in `epoch`: a permutation of 0..count-1.
std::vector<int64_t> permutation(int64_t count, uint64_t seed, std::string_view purpose, uint64_t epoch);

}  // namespace keel::core
