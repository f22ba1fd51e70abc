#include "core/rng.h"

#include <cmath>
#include <numbers>
#include <numeric>

namespace keel::core {

std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

uint64_t text_key(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text)
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

Stream::Stream(uint64_t seed, std::string_view purpose, uint64_t record, uint64_t index) {
  const auto low = [](uint64_t x) { return static_cast<uint32_t>(x); };
  const auto high = [](uint64_t x) { return static_cast<uint32_t>(x >> 32); };
  // Seed and purpose (128 bits) are mixed into the 64-bit key, record and index into the upper 96 bits of the counter;
  // its lowest word counts the blocks of this stream.
  const auto mixed = philox4x32_10({low(seed), high(seed), low(text_key(purpose)), high(text_key(purpose))}, {0x6b65656c, 0});
  const auto place = philox4x32_10({low(record), high(record), low(index), high(index)}, {mixed[2], mixed[3]});
  key_ = {mixed[0], mixed[1]};
  counter_ = {0, place[0], place[1], place[2]};
}

uint32_t Stream::next() {
  if (used_ == 4) {
    block_ = philox4x32_10(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

double Stream::uniform() {
  const uint64_t high = next() >> 5;  // 27 bits
  const uint64_t low = next() >> 6;   // 26 bits
  return static_cast<double>((high << 26) | low) * 0x1p-53;
}

double Stream::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

uint64_t Stream::below(uint64_t n) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % n;  // draws at or above it would favour small values
  for (;;) {
    const uint64_t high = next(), low = next();  // in this order
    const uint64_t value = (high << 32) | low;
    if (value < limit) return value % n;
  }
}

std::vector<int64_t> permutation(int64_t count, uint64_t seed, std::string_view purpose, uint64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  Stream(seed, purpose, epoch).shuffle(order);
  return order;
}

}  // namespace keel::core
