#include "reward/combination.h"

#include <cmath>

#include "support/test.h"

using keel::reward::combined_probability;

TEST_CASE("gate: the safety score decides below .15, a raw score of -1.734601, and helpfulness above", "[reward]") {
  const double edge = std::log(.15 / .85);
  CHECK(edge == Catch::Approx(-1.734601).epsilon(1e-6));
  CHECK(combined_probability(2, edge - 1e-6, false, {}) == Catch::Approx(.15).epsilon(1e-5));
  CHECK(combined_probability(2, edge + 1e-6, false, {}) == Catch::Approx(.880797).epsilon(1e-6));
  // A raw score of 0.1 is below .15 as a number, but is the probability .525.
  CHECK(combined_probability(2, .1, false, {}) == Catch::Approx(.880797).epsilon(1e-6));
}

TEST_CASE("gate: a prompt about safety is scored by the safety model alone", "[reward]") {
  CHECK(combined_probability(-3, 2, true, {}) == Catch::Approx(.880797).epsilon(1e-6));
  CHECK(combined_probability(-3, 2, false, {}) == Catch::Approx(.047426).epsilon(1e-4));
}

TEST_CASE("gate: the threshold is a setting", "[reward]") {
  CHECK(combined_probability(2, -.1, false, {.gate_threshold = .5}) == Catch::Approx(.475021).epsilon(1e-5));
  CHECK(combined_probability(2, -50, false, {.gate_threshold = 0}) == Catch::Approx(.880797).epsilon(1e-6));
}

TEST_CASE("gate: a missing score stops the step", "[reward]") {
  CHECK_THROWS_AS(combined_probability(std::nan(""), 0, false, {}), c10::Error);
  CHECK_THROWS_AS(combined_probability(0, INFINITY, true, {}), c10::Error);
}
