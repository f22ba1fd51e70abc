#include "evaluation/statistics/rates.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "support/test_plain.h"

namespace statistics = keel::evaluation::statistics;
using Catch::Approx;

namespace {

void check_rate(int64_t events, double exposure, const statistics::Interval& expected, double margin) {
  const auto rate = statistics::poisson_rate(events, exposure);
  CHECK(rate.mean == Approx(expected.mean).margin(1e-12));
  CHECK(rate.low == Approx(expected.low).margin(margin));
  CHECK(rate.high == Approx(expected.high).margin(margin));
}

}  // namespace

TEST_CASE("rates: intervals are those of Garwood's table of Poisson means", "[statistics]") {
  check_rate(0, 1, {0, 0, 3.69}, 5e-3);
  check_rate(1, 1, {1, 0.0253, 5.57}, 5e-3);
  check_rate(10, 1, {10, 4.80, 18.39}, 5e-3);
}

TEST_CASE("rates: scipy's chi-squared quantiles give the same intervals", "[statistics]") {  // tools/oracle/agreement_values.py
  check_rate(0, 10, {0, 0, 0.3688879454113935}, 1e-12);
  check_rate(5, 2.5, {2, 0.6493945560473683, 4.667332831729068}, 1e-12);
  check_rate(17, 350, {17.0 / 350, 0.02829464705602084, 0.07776756233116175}, 1e-12);
  check_rate(100, 40, {2.5, 2.0340997812730786, 3.0406698448106595}, 1e-12);
}

TEST_CASE("rates: no exposure says nothing, impossible counts are refused", "[statistics]") {
  const auto unknown = statistics::poisson_rate(0, 0);
  CHECK((std::isnan(unknown.mean) && unknown.low == 0 && std::isinf(unknown.high)));
  CHECK_THROWS_AS(statistics::poisson_rate(-1, 1), keel::core::Error);
  CHECK_THROWS_AS(statistics::poisson_rate(1, -1), keel::core::Error);
  CHECK_THROWS_AS(statistics::poisson_rate(1, 0), keel::core::Error);
  CHECK_THROWS_AS(statistics::poisson_rate(1, std::numeric_limits<double>::infinity()), keel::core::Error);
}
