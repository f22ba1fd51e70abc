#include "core/rng.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>

#include "support/test_plain.h"

using keel::core::permutation;
using keel::core::philox4x32_10;
using keel::core::Stream;

TEST_CASE("philox: the published vectors come out", "[core]") {
  // Random123 1.14, kat_vectors, philox4x32 10.
  using Words = std::array<uint32_t, 4>;
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("text_key: FNV-1a gives its published values", "[core]") {
  // Fowler, Noll, Vo: offset basis for the empty text; "a" and "foobar" from their test suite.
  CHECK(keel::core::text_key("") == 0xcbf29ce484222325);
  CHECK(keel::core::text_key("a") == 0xaf63dc4c8601ec8c);
  CHECK(keel::core::text_key("foobar") == 0x85944171f73967e8);
}

TEST_CASE("rng: a stream is its key alone, and each part of the key matters", "[core]") {
  const auto draws = [](Stream stream) {
    std::vector<uint32_t> values(64);
    for (uint32_t& value : values)
      value = stream.next();
    return values;
  };
  const auto reference = draws({7, "sample", 3, 5});
  CHECK(draws({7, "sample", 3, 5}) == reference);
  CHECK(draws({8, "sample", 3, 5}) != reference);
  CHECK(draws({7, "shuffle", 3, 5}) != reference);
  CHECK(draws({7, "sample", 4, 5}) != reference);
  CHECK(draws({7, "sample", 3, 6}) != reference);
  CHECK(draws({7, "sample", 5, 3}) != reference);
  CHECK(draws({7 + (uint64_t{1} << 32), "sample", 3, 5}) != reference);
  CHECK(draws({7, "sample", 3 + (uint64_t{1} << 32), 5}) != reference);
  CHECK(draws({7, "sample", 3, 5 + (uint64_t{1} << 32)}) != reference);
}

TEST_CASE("rng: neighbouring streams do not repeat each other's draws", "[core]") {
  std::set<uint64_t> seen;
  for (uint64_t record = 0; record < 100; ++record) {
    for (uint64_t index = 0; index < 10; ++index) {
      Stream stream(1, "sample", record, index);
      for (int i = 0; i < 10; ++i) {
        const uint64_t high = stream.next();
        seen.insert(high << 32 | stream.next());
      }
    }
  }
  CHECK(seen.size() == 10'000);  // 64-bit values: a repeat by chance has probability 3e-12
}

TEST_CASE("rng: first draws of neighbouring records are uncorrelated", "[core]") {
  // r of n independent pairs has standard deviation 1/sqrt(n) = 0.01; the stream is fixed, so this never flickers.
  const int n = 10'000;
  double sum = 0;
  for (uint64_t record = 0; record < n; ++record) {
    sum += (Stream(3, "x", record).uniform() - .5) * (Stream(3, "x", record + 1).uniform() - .5);
  }
  CHECK(std::abs(sum / n * 12) < .04);
}

TEST_CASE("rng: uniform and normal draws have the moments they should", "[core]") {
  Stream stream(11, "moments");
  const int n = 100'000;
  double mean = 0, square = 0, least = 1, most = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.uniform();
    mean += x / n;
    square += x * x / n;
    least = std::min(least, x);
    most = std::max(most, x);
  }
  CHECK(std::abs(mean - .5) < .004);  // 4 standard errors of sqrt(1/12 / n)
  CHECK(std::abs(square - 1. / 3) < .004);
  CHECK(least >= 0);
  CHECK(most < 1);

  double first = 0, second = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double x = stream.normal();
    first += x / n;
    second += x * x / n;
    fourth += x * x * x * x / n;
  }
  CHECK(std::abs(first) < .013);
  CHECK(std::abs(second - 1) < .018);  // standard error sqrt(2 / n)
  CHECK(std::abs(fourth - 3) < .13);   // standard error sqrt(96 / n)
}

TEST_CASE("rng: below(n) covers 0..n-1 evenly", "[core]") {
  Stream stream(5, "dice");
  std::array<int, 6> counts{};
  for (int i = 0; i < 60'000; ++i)
    ++counts.at(stream.below(6));
  double chi_square = 0;
  for (const int count : counts)
    chi_square += (count - 10'000.) * (count - 10'000.) / 10'000.;
  CHECK(chi_square < 20.5);  // 5 degrees of freedom, p = 0.001
  CHECK(stream.below(1) == 0);
  for (int i = 0; i < 100; ++i)
    CHECK(stream.below((uint64_t{1} << 63) + 1) <= uint64_t{1} << 63);
}

TEST_CASE("rng: a permutation holds every record once and differs between epochs", "[core]") {
  std::vector<int64_t> everything(1000);
  std::iota(everything.begin(), everything.end(), int64_t{0});
  auto first = permutation(1000, 1, "order", 0), second = permutation(1000, 1, "order", 1);
  CHECK(first == permutation(1000, 1, "order", 0));
  CHECK(first != second);
  CHECK(first != everything);
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  CHECK(first == everything);
  CHECK(second == everything);
  CHECK(permutation(0, 1, "order", 0).empty());
}

TEST_CASE("rng: all six orders of three records are equally likely", "[core]") {
  std::array<int, 27> counts{};
  for (uint64_t epoch = 0; epoch < 6000; ++epoch) {
    const auto order = permutation(3, 9, "order", epoch);
    ++counts.at(static_cast<size_t>(order[0] * 9 + order[1] * 3 + order[2]));
  }
  double chi_square = 0;
  for (const int count : counts) {
    if (count > 0) chi_square += (count - 1000.) * (count - 1000.) / 1000.;
  }
  CHECK(std::count(counts.begin(), counts.end(), 0) == 21);
  CHECK(chi_square < 20.5);  // 5 degrees of freedom, p = 0.001
}
