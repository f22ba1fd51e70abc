#include "reward/evaluate.h"

#include <cmath>

#include "support/test.h"

using namespace keel::reward;

TEST_CASE("evaluation: agreement overall and by strength, with counts; equal scores are no agreement", "[reward]") {
  std::vector<keel::core::TokenPair> pairs(6);
  const int strengths[] = {4, 4, 1, 1, 1, 0};
  for (size_t i = 0; i < 6; ++i)
    pairs[i].strength = strengths[i];
  const RewardEvaluation result = evaluate(pairs, {2, .5, 1, -1, 0, 3}, {0, 1, 1, -2, 4, 0});
  CHECK(result.all.correct == 3);
  CHECK(result.all.pairs == 6);
  CHECK(result.all.rate() == .5);
  CHECK(result.by_strength[4].correct == 1);
  CHECK(result.by_strength[4].pairs == 2);
  CHECK(result.by_strength[1].correct == 1);
  CHECK(result.by_strength[1].pairs == 3);
  CHECK(result.by_strength[0].pairs == 1);
  CHECK(std::isnan(result.by_strength[2].rate()));
  CHECK(result.mean_difference == Catch::Approx((2 - .5 + 0 + 1 - 4 + 3) / 6));
}

TEST_CASE("evaluation: the loss is the ranking loss without margin", "[reward]") {
  const std::vector<keel::core::TokenPair> pairs(3);
  CHECK(evaluate(pairs, {.5, -.5, 2}, {0, 0, 0}).loss == Catch::Approx(.525027).epsilon(1e-6));
  CHECK(evaluate(pairs, {-2000, 0, 0}, {0, 0, 0}).loss == Catch::Approx((2000 + 2 * std::log(2.)) / 3));
}

TEST_CASE("evaluation: no pairs, missing scores and NaN", "[reward]") {
  const std::vector<keel::core::TokenPair> pairs(1);
  CHECK(std::isnan(evaluate(std::vector<keel::core::TokenPair>{}, {}, {}).all.rate()));
  CHECK_THROWS_AS(evaluate(pairs, {1}, {}), c10::Error);
  CHECK_THROWS_AS(evaluate(pairs, {NAN}, {1}), c10::Error);
}
