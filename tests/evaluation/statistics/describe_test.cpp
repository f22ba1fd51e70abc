#include "support/test_plain.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "evaluation/statistics/describe.h"

namespace statistics = keel::evaluation::statistics;
using Catch::Approx;

namespace {

const double kMissing = std::numeric_limits<double>::quiet_NaN();

std::vector<double> sines(double a, double b) {  // `wave` of tools/oracle/evaluation_statistics.py, 40 values
  std::vector<double> values;
  for (int i = 0; i < 40; ++i)
    values.push_back(std::round((std::sin(a * i + 1.0) + 0.3 * std::cos(b * i)) * 1e6) / 1e6);
  return values;
}

}  // namespace

TEST_CASE("describe: mean, deviation and quantiles agree with numpy", "[statistics]") {
  const std::vector<double> x = sines(0.7, 0.3);
  CHECK(statistics::mean(x) == Approx(0.050204325).epsilon(1e-12));
  CHECK(statistics::standard_deviation(x) == Approx(0.7712562143207861).epsilon(1e-12));
  const std::vector<std::pair<double, double>> quantiles = {{0, -1.282322},   {0.025, -1.1318717}, {0.1, -0.9520844},
                                                            {0.5, 0.1925065}, {0.975, 1.238213},   {1, 1.278266}};
  for (const auto& [p, expected] : quantiles)
    CHECK(statistics::quantile(x, p) == Approx(expected).epsilon(1e-9));
}

TEST_CASE("describe: nothing, one value and NaN", "[statistics]") {
  CHECK(std::isnan(statistics::mean({})));
  CHECK(std::isnan(statistics::standard_deviation({1})));
  CHECK(std::isnan(statistics::quantile({}, 0.5)));
  CHECK(std::isnan(statistics::quantile({1, kMissing, 3}, 0.5)));
  CHECK(statistics::quantile({7}, 0.3) == 7);
  CHECK(statistics::mean({7}) == 7);
}

TEST_CASE("describe: a histogram counts the right edge in and everything else beside", "[statistics]") {
  const auto x = statistics::histogram(sines(0.7, 0.3), {-1.5, -1, -0.5, 0, 0.5, 1, 1.5});
  CHECK(x.counts == std::vector<int64_t>{3, 10, 5, 9, 8, 5});
  CHECK(x.outside == 0);
  const auto edges = statistics::histogram({0, 1, 1, 2, -0.1, 2.1, kMissing, INFINITY}, {0, 1, 2});
  CHECK(edges.counts == std::vector<int64_t>{1, 3});
  CHECK(edges.outside == 4);
  CHECK_THROWS_AS(statistics::histogram({1}, {0}), keel::core::Error);
  CHECK_THROWS_AS(statistics::histogram({1}, {1, 0}), keel::core::Error);
}

TEST_CASE("describe: correlations agree with scipy, ties included", "[statistics]") {
  const std::vector<double> x = sines(0.7, 0.3), y = sines(0.9, 1.1);
  CHECK(statistics::pearson(x, y) == Approx(0.11997733325270908).epsilon(1e-10));
  CHECK(statistics::spearman(x, y) == Approx(0.125703564727955).epsilon(1e-10));
  std::vector<double> coarse_x, coarse_y;
  for (const double value : x)
    coarse_x.push_back(std::round(2 * value));
  for (const double value : y)
    coarse_y.push_back(std::round(value + 0.25));
  CHECK(statistics::spearman(coarse_x, coarse_y) == Approx(-0.05415851658523136).epsilon(1e-10));
}

TEST_CASE("describe: a monotone relation has rank correlation 1, no variation has none", "[statistics]") {
  CHECK(statistics::spearman({1, 2, 3, 4}, {1, 10, 100, 1000}) == Approx(1));
  CHECK(statistics::pearson({1, 2, 3}, {-2, -4, -6}) == Approx(-1));
  CHECK(std::isnan(statistics::pearson({1, 2, 3}, {5, 5, 5})));
  CHECK(std::isnan(statistics::spearman({1, kMissing, 3}, {1, 2, 3})));
  CHECK(std::isnan(statistics::pearson({}, {})));
  CHECK_THROWS_AS(statistics::pearson({1, 2}, {1}), keel::core::Error);
}
