#include "ppo/draws.h"

#include <algorithm>

#include "support/test.h"

using namespace keel::ppo;

TEST_CASE("draws: every record once a round, whatever the cuts", "[ppo]") {
  const auto whole = drawn_in_turn(0, 14, 5, 3, "test");
  std::vector<int64_t> cut;
  for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 3}, {3, 1}, {4, 7}, {11, 3}})
    for (const int64_t index : drawn_in_turn(first, count, 5, 3, "test"))
      cut.push_back(index);
  CHECK(cut == whole);
  for (int64_t round = 0; round < 2; ++round) {
    std::vector<int64_t> one(whole.begin() + 5 * round, whole.begin() + 5 * (round + 1));
    std::sort(one.begin(), one.end());
    CHECK(one == std::vector<int64_t>{0, 1, 2, 3, 4});
  }
  CHECK(drawn_in_turn(0, 14, 5, 4, "test") != whole);
}
