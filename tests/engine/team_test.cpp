#include "engine/team.h"

#include <numeric>

#include "support/test_plain.h"

using keel::engine::share;
using keel::engine::Team;

TEST_CASE("team: every member works once a run, and what one wrote before a meeting the others read after it", "[engine]") {
  for (const int size : {1, 2, 3, 5}) {
    Team team(size);
    std::vector<int> written(static_cast<size_t>(size)), sums(static_cast<size_t>(size));
    for (int round = 1; round <= 200; ++round) {
      team.run([&](int member) {
        for (int step = 0; step < 3; ++step) {
          written[static_cast<size_t>(member)] = round * (member + 1) + step;
          team.meet();
          sums[static_cast<size_t>(member)] = std::accumulate(written.begin(), written.end(), 0);
          team.meet();
        }
      });
      const int expected = round * size * (size + 1) / 2 + 2 * size;
      for (const int sum : sums)
        CHECK(sum == expected);
    }
  }
}

TEST_CASE("team: shares are disjoint, in order and cover everything", "[engine]") {
  for (const int64_t count : {0, 1, 2, 7, 100}) {
    for (const int size : {1, 2, 3, 8}) {
      int64_t next = 0;
      for (int member = 0; member < size; ++member) {
        const auto [begin, end] = share(count, member, size);
        CHECK(begin == next);
        CHECK(end >= begin);
        next = end;
      }
      CHECK(next == count);
    }
  }
}
