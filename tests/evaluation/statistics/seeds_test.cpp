#include "evaluation/statistics/seeds.h"

#include <cmath>

#include "support/test_plain.h"

namespace keel::evaluation::statistics {

TEST_CASE("seed_interval: Student's t, as scipy.stats.t.interval gives it", "[statistics]") {
  // scipy.stats.t.interval(0.95, 2, numpy.mean(x), scipy.stats.sem(x)) for x = 1, 2, 4
  const Interval three = seed_interval({1, 2, 4});
  CHECK(three.mean == Catch::Approx(7. / 3));
  CHECK(three.low == Catch::Approx(-1.461249700263).epsilon(1e-9));
  CHECK(three.high == Catch::Approx(6.127916366930).epsilon(1e-9));
}

TEST_CASE("seed_interval: two seeds give points only, equal values an interval without width", "[statistics]") {
  const Interval two = seed_interval({0.5, 0.7});
  CHECK(two.mean == Catch::Approx(0.6));
  CHECK((std::isnan(two.low) && std::isnan(two.high)));
  CHECK(std::isnan(seed_interval({}).mean));
  const Interval equal = seed_interval({0.25, 0.25, 0.25});
  CHECK((equal.low == 0.25 && equal.high == 0.25));
}

}  // namespace keel::evaluation::statistics
