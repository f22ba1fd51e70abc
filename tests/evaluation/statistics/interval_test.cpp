#include "support/test_plain.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/rng.h"
#include "evaluation/statistics/interval.h"

namespace statistics = keel::evaluation::statistics;
using Catch::Approx;
using statistics::Interval;

namespace {

std::vector<double> wave(int count, double a, double b) {  // as in tools/oracle/evaluation_statistics.py
  std::vector<double> values;
  for (int i = 0; i < count; ++i)
    values.push_back(std::round((std::sin(a * i + 1.0) + 0.3 * std::cos(b * i)) * 1e6) / 1e6);
  return values;
}

bool covers(const Interval& interval, double value) {
  return interval.low <= value && value <= interval.high;
}

void check_interval(const Interval& actual, const Interval& expected, double tolerance) {
  CHECK(actual.mean == Approx(expected.mean).margin(1e-12));
  CHECK(actual.low == Approx(expected.low).margin(tolerance));
  CHECK(actual.high == Approx(expected.high).margin(tolerance));
}

double mean_at(const std::vector<double>& values, const std::vector<size_t>& items) {
  double sum = 0;
  for (const size_t item : items)
    sum += values[item];
  return sum / static_cast<double>(items.size());
}

}  // namespace

TEST_CASE("wilson: scipy's binomtest gives the same intervals", "[statistics]") {
  check_interval(statistics::wilson(7, 10), {0.7, 0.39677814746114526, 0.892208732593699}, 1e-12);
  check_interval(statistics::wilson(0, 12), {0, 0, 0.24249400665524085}, 1e-12);
  check_interval(statistics::wilson(12, 12), {1, 0.7575059933447592, 1}, 1e-12);
  check_interval(statistics::wilson(1, 1), {1, 0.20654931437723745, 1}, 1e-12);
  check_interval(statistics::wilson(263, 400), {0.6575, 0.609694645788913, 0.7023089814957837}, 1e-12);
  check_interval(statistics::wilson(9000, 10000), {0.9, 0.8939656314740893, 0.9057271698293695}, 1e-12);
}

TEST_CASE("wilson: the bounds stay in [0, 1] and around the mean for every count", "[statistics]") {
  for (int64_t trials = 1; trials <= 60; ++trials) {
    for (int64_t successes = 0; successes <= trials; ++successes) {
      const Interval interval = statistics::wilson(successes, trials);
      REQUIRE((0 <= interval.low && interval.low <= interval.mean && interval.mean <= interval.high && interval.high <= 1));
    }
  }
}

TEST_CASE("wilson: no trials say nothing, impossible counts are refused", "[statistics]") {
  const Interval unknown = statistics::wilson(0, 0);
  CHECK(std::isnan(unknown.mean));
  CHECK(unknown.low == 0);
  CHECK(unknown.high == 1);
  CHECK_THROWS_AS(statistics::wilson(3, 2), keel::core::Error);
  CHECK_THROWS_AS(statistics::wilson(-1, 2), keel::core::Error);
}

TEST_CASE("bootstrap: percentiles agree with scipy's within Monte Carlo error", "[statistics]") {
  const std::vector<double> x = wave(40, 0.7, 0.3), y = wave(40, 0.9, 1.1);
  check_interval(statistics::bootstrap_mean(x, {.seed = 1}), {0.050204325, -0.186054655625, 0.284328639375}, 0.01);
  check_interval(statistics::bootstrap_difference(x, y, {.seed = 1}), {0.037358, -0.273686323125, 0.349830785}, 0.01);

  std::vector<double> coarse_x, coarse_y;  // many ties
  for (const double value : x)
    coarse_x.push_back(std::round(2 * value));
  for (const double value : y)
    coarse_y.push_back(std::round(value + 0.25));
  check_interval(statistics::bootstrap_win_rate(coarse_x, coarse_y, {.seed = 1}), {0.525, 0.375, 0.675}, 0.0126);
}

TEST_CASE("bootstrap: one success in ten gives the quantiles of a binomial", "[statistics]") {
  // Resamples hold Binomial(10, 0.1) successes: P(0) = 0.349, P(<= 2) = 0.930, P(<= 3) = 0.987.
  check_interval(statistics::bootstrap_mean({0, 0, 0, 1, 0, 0, 0, 0, 0, 0}), {0.1, 0, 0.3}, 1e-12);
}

TEST_CASE("bootstrap: intervals of a known mean cover it in 95 of 100 experiments", "[statistics]") {
  keel::core::Stream stream(3, "coverage");
  int covered = 0;
  for (int experiment = 0; experiment < 1000; ++experiment) {
    std::vector<double> values(100);
    for (double& value : values)
      value = 2 + stream.normal();
    const auto interval = statistics::bootstrap_mean(values, {.seed = 5, .replicates = 400});
    if (covers(interval, 2)) ++covered;
  }
  CHECK(covered > 920);  // 950 expected, standard deviation 7; n = 100 costs the percentile method about 7
  CHECK(covered < 975);
}

TEST_CASE("bootstrap: seeded, and equal seeds draw equal prompts", "[statistics]") {
  const std::vector<double> x = wave(30, 0.7, 0.3);
  std::vector<double> shifted;
  for (const double value : x)
    shifted.push_back(value + 1);
  const Interval first = statistics::bootstrap_mean(x, {.seed = 4}), again = statistics::bootstrap_mean(x, {.seed = 4});
  CHECK(first.low == again.low);
  CHECK(first.high == again.high);
  CHECK(first.low != statistics::bootstrap_mean(x, {.seed = 5}).low);
  CHECK(statistics::bootstrap_mean(shifted, {.seed = 4}).low == Approx(first.low + 1));
  const Interval difference = statistics::bootstrap_difference(shifted, x);  // paired: the prompts' own spread cancels
  CHECK(difference.low == Approx(1));
  CHECK(difference.high == Approx(1));
}

TEST_CASE("bootstrap: a win rate counts ties half", "[statistics]") {
  CHECK(statistics::bootstrap_win_rate({2, 1, 1, 0}, {1, 1, 1, 1}).mean == 0.5);
  CHECK(statistics::bootstrap_win_rate({1, 1}, {1, 1}).low == 0.5);
  CHECK(statistics::bootstrap_win_rate({3}, {1}).high == 1);
}

TEST_CASE("bootstrap: what cannot be resampled is refused", "[statistics]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(statistics::bootstrap_mean({}), keel::core::Error);
  CHECK_THROWS_AS(statistics::bootstrap_mean({1, nan}), keel::core::Error);
  CHECK_THROWS_AS(statistics::bootstrap_mean({1, 2}, {.seed = 0, .replicates = 0}), keel::core::Error);
  CHECK_THROWS_AS(statistics::bootstrap_difference({1, 2}, {1}), keel::core::Error);
  CHECK_THROWS_AS(statistics::bootstrap_win_rate({1, nan}, {1, 2}), keel::core::Error);
}

TEST_CASE("bootstrap: of any statistic it is that of the mean where the statistic is the mean", "[statistics]") {
  const std::vector<double> x = wave(40, 0.7, 0.3);
  const auto mean_of = [&](const std::vector<size_t>& items) { return mean_at(x, items); };
  check_interval(statistics::bootstrap_statistic(40, mean_of), statistics::bootstrap_mean(x), 1e-12);
  // Replicates without a value are left out; if none is left, the bounds are NaN.
  const auto spread = statistics::bootstrap_statistic(2, [](const std::vector<size_t>& items) { return items[0] == items[1] ? NAN : 1.0; });
  check_interval(spread, {1, 1, 1}, 0);
  CHECK(std::isnan(statistics::bootstrap_statistic(2, [](const std::vector<size_t>&) { return NAN; }).low));
  CHECK_THROWS_AS(statistics::bootstrap_statistic(0, mean_of), keel::core::Error);
  CHECK_THROWS_AS(statistics::bootstrap_statistic(1, mean_of, {.replicates = 0}), keel::core::Error);
}

TEST_CASE("wilson over prompts: that of as many independent trials as spread alike", "[statistics]") {
  using statistics::wilson_over_prompts;
  // One trial a prompt is plain Wilson; prompts without a trial do not count.
  check_interval(wilson_over_prompts({{1, 1}, {0, 1}, {1, 1}, {1, 1}, {0, 0}}), statistics::wilson(3, 4), 1e-12);
  // Ten prompts whose four trials agree, half of them right: 4 times the variance of 40 trials, and the correction for ten prompts.
  const std::vector<statistics::Share> alike = {{4, 4}, {4, 4}, {4, 4}, {4, 4}, {4, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}, {0, 4}};
  const double n = 40 / (4.0 * 10 / 9 * 39 / 40), z2 = 1.959963984540054 * 1.959963984540054;
  const double half = std::sqrt(z2 * (0.25 / n + z2 / (4 * n * n))) / (1 + z2 / n);
  check_interval(wilson_over_prompts(alike), {0.5, 0.5 - half, 0.5 + half}, 1e-12);
  // Prompts that spread less than chance do not raise the effective number above the number of trials.
  check_interval(wilson_over_prompts({{2, 4}, {2, 4}, {2, 4}}), statistics::wilson(6, 12), 1e-12);
  // Without a measurable spread, the trials of a prompt count as one.
  check_interval(wilson_over_prompts({{4, 4}, {4, 4}, {4, 4}}), statistics::wilson(3, 3), 1e-12);
  check_interval(wilson_over_prompts({{0, 4}, {0, 4}}), statistics::wilson(0, 2), 1e-12);
  const Interval one = wilson_over_prompts({{6, 12}});
  CHECK(one.high - one.low > 0.75);
  CHECK(std::isnan(wilson_over_prompts({}).mean));
  CHECK_THROWS_AS(wilson_over_prompts({{3, 2}}), keel::core::Error);
}

TEST_CASE("wilson over prompts: covers a share in 95 of 100 experiments where pairs of a prompt go together", "[statistics]") {
  keel::core::Stream stream(3, "coverage.prompts");
  int covered = 0, covered_by_pairs = 0;
  for (int experiment = 0; experiment < 1000; ++experiment) {
    statistics::Tally tally;
    for (size_t prompt = 0; prompt < 60; ++prompt) {
      const double easy = stream.chance(0.5) ? 0.95 : 0.45;  // 0.7 on average
      for (size_t pair = 0; pair < 1 + prompt % 5; ++pair)
        tally.add(prompt, stream.chance(easy));
    }
    if (covers(tally.interval(), 0.7)) ++covered;
    if (covers(statistics::wilson(tally.all().successes, tally.all().trials), 0.7)) ++covered_by_pairs;
  }
  INFO(covered << " by prompts, " << covered_by_pairs << " by pairs");
  CHECK(covered > 920);
  CHECK(covered < 975);
  CHECK(covered_by_pairs < 910);
}

TEST_CASE("bootstrap over prompts: means of prompts where they are of one size, the bootstrap of items where each has one",
          "[statistics]") {
  const std::vector<double> x = wave(40, 0.7, 0.3);
  const auto mean_of = [&](const std::vector<size_t>& items) { return mean_at(x, items); };
  std::vector<std::vector<size_t>> single, pairs;
  std::vector<double> means;
  for (size_t i = 0; i < 40; ++i)
    single.push_back({i});
  for (size_t i = 0; i < 40; i += 2) {
    pairs.push_back({i, i + 1});
    means.push_back((x[i] + x[i + 1]) / 2);
  }
  check_interval(statistics::bootstrap_over_prompts(single, mean_of), statistics::bootstrap_mean(x), 1e-12);
  check_interval(statistics::bootstrap_over_prompts(pairs, mean_of), statistics::bootstrap_mean(means), 1e-12);
}
