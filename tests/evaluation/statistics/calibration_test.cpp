#include "evaluation/statistics/calibration.h"

#include <cmath>

#include "core/error.h"
#include "support/test_plain.h"

namespace statistics = keel::evaluation::statistics;
using Catch::Approx;

namespace {

// The differences of the pairs of tools/oracle/reward_evaluation.py.
std::vector<double> oracle_differences() {
  const auto wave = [](double a, double b, int i) { return std::round((std::sin(a * i + 1.0) + 0.3 * std::cos(b * i)) * 1e6) / 1e6; };
  std::vector<double> differences;
  for (int i = 0; i < 60; ++i)
    differences.push_back(wave(0.7, 0.3, i) + 0.5 - wave(0.9, 1.1, i));
  return differences;
}

struct Statements {
  std::vector<double> confidence;
  std::vector<bool> correct;
};

Statements oracle_statements() {
  Statements statements;
  for (const double difference : oracle_differences()) {
    statements.confidence.push_back(1 / (1 + std::exp(-std::abs(difference))));
    statements.correct.push_back(difference > 0);
  }
  return statements;
}

}  // namespace

TEST_CASE("calibration: bins and ECE agree with a numpy program", "[statistics]") {
  const Statements statements = oracle_statements();
  const auto bins = statistics::reliability(statements.confidence, statements.correct, 0.5, 10);
  const int64_t counts[] = {7, 6, 11, 5, 7, 7, 9, 5, 3, 0}, hits[] = {2, 3, 7, 2, 3, 4, 8, 5, 3, 0};
  REQUIRE(bins.size() == 10);
  for (size_t i = 0; i < 10; ++i) {
    CHECK(bins[i].count == counts[i]);
    if (counts[i] > 0) CHECK(bins[i].accuracy.mean == Approx(static_cast<double>(hits[i]) / static_cast<double>(counts[i])));
    CHECK(bins[i].low == Approx(0.5 + 0.05 * static_cast<double>(i)));
    CHECK(bins[i].high == Approx(0.55 + 0.05 * static_cast<double>(i)));
  }
  CHECK(bins[0].confidence == Approx(0.5169337081706942));
  CHECK(bins[8].confidence == Approx(0.9170064568788909));
  CHECK(std::isnan(bins[9].confidence));
  CHECK(statistics::calibration_error(bins) == Approx(0.1425677127490915));
}

TEST_CASE("calibration: by hand, with statements on the edges of bins", "[statistics]") {
  // [0.5, 0.75): 0.5 right, 0.6 wrong: mean 0.55 against 0.5. [0.75, 1]: 0.75 right, 1 right: 0.875 against 1.
  const auto bins = statistics::reliability({0.5, 0.6, 0.75, 1}, {true, false, true, true}, 0.5, 2);
  CHECK(bins[0].count == 2);
  CHECK(bins[1].confidence == Approx(0.875));
  CHECK(statistics::calibration_error(bins) == Approx(0.5 * 0.05 + 0.5 * 0.125));
  CHECK(std::isnan(statistics::calibration_error(statistics::reliability({}, {}, 0, 5))));
  CHECK_THROWS_AS(statistics::reliability({0.4}, {true}, 0.5, 2), keel::core::Error);
  CHECK_THROWS_AS(statistics::reliability({NAN}, {true}, 0.5, 2), keel::core::Error);
  CHECK_THROWS_AS(statistics::reliability({0.5}, {}, 0.5, 2), keel::core::Error);
  CHECK_THROWS_AS(statistics::reliability({}, {}, 0.5, 0), keel::core::Error);
}

TEST_CASE("calibration: what perfect calibration shows by chance agrees with a numpy program", "[statistics]") {
  const auto chance = statistics::calibration_error_by_chance(oracle_statements().confidence, 0.5, 10);
  CHECK(chance.mean == Approx(0.1345833).margin(0.001));
  CHECK(chance.low == Approx(0.0777162).margin(0.002));
  CHECK(chance.high == Approx(0.2030605).margin(0.003));
  CHECK(statistics::calibration_error_by_chance({1, 1}, 0.5, 10).high == 0);  // certain statements come true in every draw
  CHECK(std::isnan(statistics::calibration_error_by_chance({}, 0.5, 10).mean));
}

TEST_CASE("calibration: the temperature is that of scipy's minimiser", "[statistics]") {
  const auto fit = statistics::fit_temperature(oracle_differences());
  CHECK(fit.temperature == Approx(1.2323752500731107).epsilon(1e-6));
  CHECK(fit.loss_before == Approx(0.6078079299071635));
  CHECK(fit.loss_after == Approx(0.6041399768237545));
  std::vector<double> tripled;
  for (const double difference : oracle_differences())
    tripled.push_back(3 * difference);
  CHECK(statistics::fit_temperature(tripled).temperature == Approx(3 * fit.temperature).epsilon(1e-9));
  // By hand: three of four right at distance 1: sigmoid(1 / T) = 3/4, so T = 1 / log 3; the loss is the entropy of 3/4.
  const auto hand = statistics::fit_temperature({1, 1, 1, -1});
  CHECK(hand.temperature == Approx(1 / std::log(3.0)));
  CHECK(hand.loss_after == Approx(-(0.75 * std::log(0.75) + 0.25 * std::log(0.25))));
}

TEST_CASE("calibration: without a least value the temperature ends at its bound", "[statistics]") {
  CHECK(statistics::fit_temperature({0.1, 2}).temperature == Approx(0.01));
  CHECK(statistics::fit_temperature({1, -3}).temperature == Approx(100));
  CHECK(statistics::fit_temperature({0, 0}).temperature == Approx(100));
  CHECK_THROWS_AS(statistics::fit_temperature({}), keel::core::Error);
}

TEST_CASE("calibration: softplus neither overflows nor vanishes", "[statistics]") {
  CHECK(statistics::softplus(0) == Approx(std::log(2.0)));
  CHECK(statistics::softplus(2000) == 2000);
  CHECK(statistics::softplus(-40) == Approx(std::exp(-40.0)));
}
