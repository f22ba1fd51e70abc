#include "data/mixture.h"

#include <algorithm>
#include <set>

#include "support/test_plain.h"

namespace keel::data {

TEST_CASE("mixture: the rest makes up its share of the whole, and own rows are never left out", "[data]") {
  CHECK(wanted_rest(1000, 0.5) == 1000);  // paper: an equal part
  CHECK(wanted_rest(900, 0.1) == 100);    // paper: 90/10
  CHECK(wanted_rest(7, 0) == 0);
  CHECK(draw_rest(900, 5000, 0.1, 1).size() == 100);
  CHECK(draw_rest(900, 5000, 0, 1).empty());
  CHECK(draw_rest(900, 30, 0.5, 1).size() == 30);  // all there are
}

TEST_CASE("mixture: a draw repeats itself, has no repetition and differs by seed; a larger share keeps a smaller one's", "[data]") {
  const auto drawn = draw_rest(50, 400, 0.5, 3);
  CHECK(drawn == draw_rest(50, 400, 0.5, 3));
  CHECK(drawn != draw_rest(50, 400, 0.5, 4));
  CHECK(std::set<int64_t>(drawn.begin(), drawn.end()).size() == 50);
  CHECK(std::is_sorted(drawn.begin(), drawn.end()));
  CHECK((drawn.front() >= 0 && drawn.back() < 400));
  const auto more = draw_rest(50, 400, 0.75, 3);
  CHECK(more.size() == 150);
  CHECK(std::includes(more.begin(), more.end(), drawn.begin(), drawn.end()));
}

TEST_CASE("mixture: the draw is uniform over the rest", "[data]") {
  std::vector<int> hits(20, 0);
  for (uint64_t seed = 0; seed < 2000; ++seed)
    for (const int64_t row : draw_rest(5, 20, 0.5, seed))
      ++hits[static_cast<size_t>(row)];
  for (const int count : hits)  // 500 expected, standard deviation 19
    CHECK((count > 405 && count < 595));
}

TEST_CASE("mixture: a weight repeats rows, or leaves a part of them out", "[data]") {
  CHECK(repeat_by_weight({1, 1, 1}, 1, "x") == std::vector<int64_t>{0, 1, 2});
  std::vector<double> weights(3000, 1);
  for (size_t i = 0; i < 1000; ++i)
    weights[i] = 2;
  for (size_t i = 1000; i < 2000; ++i)
    weights[i] = 0.25;
  const auto rows = repeat_by_weight(weights, 7, "x");
  std::vector<int> used(weights.size(), 0);
  for (const int64_t row : rows)
    ++used[static_cast<size_t>(row)];
  CHECK(std::all_of(used.begin(), used.begin() + 1000, [](int count) { return count == 2; }));
  CHECK(std::all_of(used.begin() + 2000, used.end(), [](int count) { return count == 1; }));
  const auto kept = std::count(used.begin() + 1000, used.begin() + 2000, 1);  // 250 expected, standard deviation 14
  CHECK((kept > 180 && kept < 320));
  CHECK(std::count(used.begin() + 1000, used.begin() + 2000, 0) == 1000 - kept);
  CHECK_FALSE(std::is_sorted(rows.begin(), rows.end()));
  CHECK(rows == repeat_by_weight(weights, 7, "x"));
  CHECK(rows != repeat_by_weight(weights, 8, "x"));
}

}  // namespace keel::data
