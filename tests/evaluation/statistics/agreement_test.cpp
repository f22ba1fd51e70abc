// Expected values: K. L. Gwet's published examples, and tools/oracle/agreement_values.py.
#include "evaluation/statistics/agreement.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "support/test_plain.h"

namespace statistics = keel::evaluation::statistics;
using Catch::Approx;
using statistics::Agreement;
using statistics::AgreementWeights;
using Ratings = std::vector<std::vector<int>>;

namespace {

// Twelve units, four raters, categories 1..5 (here 0..4): cac.raw4raters of Gwet's R package irrCAC.
const Ratings kFourRaters = {{0, 0, 0},    {1, 1, 2, 1}, {2, 2, 2, 2}, {2, 2, 2, 2}, {1, 1, 1, 1}, {0, 1, 2, 3},
                             {3, 3, 3, 3}, {0, 0, 1, 0}, {1, 1, 1, 1}, {4, 4, 4},    {0, 0},       {2}};

// Its raw5observers: 15 units, categories 0..3.
const Ratings kFiveObservers = {{1, 1, 2, 2}, {1, 1, 0, 1}, {2, 3, 3, 3}, {0, 0, 0},       {0, 0, 0, 0},
                                {0, 0, 0, 0}, {1, 0, 2, 1}, {1, 2, 0},    {2, 2, 2, 2},    {2, 1, 1, 1},
                                {1, 0, 0},    {0, 0, 0, 0}, {1, 2, 2, 2}, {3, 3, 2, 2, 3}, {1, 1, 1, 1}};

// A distribution of raters, counts[i][k], as the ratings behind it.
Ratings from_counts(const Ratings& counts) {
  Ratings ratings;
  for (const auto& row : counts) {
    ratings.emplace_back();
    for (size_t k = 0; k < row.size(); ++k)
      ratings.back().insert(ratings.back().end(), static_cast<size_t>(row[k]), static_cast<int>(k));
  }
  return ratings;
}

// As in tools/oracle/agreement_values.py: five categories, the first never used; items without a rating and with one.
Ratings by_formula() {
  Ratings ratings;
  for (int i = 0; i < 60; ++i) {
    ratings.emplace_back();
    for (int rater = 0; rater < 4; ++rater) {
      const double value = std::round(3 + 1.6 * std::sin(0.9 * i) + 0.8 * std::cos(1.7 * i + 2.3 * rater));
      if (i % 10 != 9 && (i * (rater + 2) + 5 * rater) % 7 >= 4)
        ratings.back().push_back(static_cast<int>(std::clamp(value, 2.0, 5.0)) - 1);
    }
  }
  return ratings;
}

struct Expected {
  double coefficient, standard_error, observed, chance, low, high;
};

void check_agreement(const Agreement& actual, const Expected& expected, double margin = 1e-8) {
  CHECK(actual.coefficient.mean == Approx(expected.coefficient).margin(margin));
  CHECK(actual.standard_error == Approx(expected.standard_error).margin(margin));
  CHECK(actual.observed == Approx(expected.observed).margin(margin));
  CHECK(actual.chance == Approx(expected.chance).margin(margin));
  CHECK(actual.coefficient.low == Approx(expected.low).margin(margin));
  CHECK(actual.coefficient.high == Approx(expected.high).margin(margin));
}

}  // namespace

TEST_CASE("agreement: AC1 of Gwet's twelve units and four raters is the published one, gaps included", "[statistics]") {
  const auto ac1 = statistics::gwet_agreement(kFourRaters, 5, AgreementWeights::identity);
  CHECK(ac1.coefficient.mean == Approx(0.77544).margin(5e-6));  // as the package's overview prints them
  CHECK(ac1.standard_error == Approx(0.14295).margin(5e-6));
  CHECK(ac1.observed == Approx(0.8181818).margin(5e-8));
  CHECK(ac1.chance == Approx(0.1903212).margin(5e-8));
  CHECK(ac1.coefficient.low == Approx(0.461).margin(5e-4));
  CHECK(ac1.coefficient.high == 1);  // cut at 1
  CHECK((ac1.items == 12 && ac1.shared_items == 11));
}

TEST_CASE("agreement: AC1 of Gwet's six raters and fifteen patients, given by counts, is the published one", "[statistics]") {
  const Ratings counts = {{0, 0, 0, 6, 0}, {0, 3, 0, 0, 3}, {0, 1, 4, 0, 1}, {0, 0, 0, 0, 6}, {0, 3, 0, 3, 0},
                          {2, 0, 4, 0, 0}, {0, 0, 4, 0, 2}, {2, 0, 3, 1, 0}, {2, 0, 0, 4, 0}, {0, 0, 0, 0, 6},
                          {1, 0, 0, 5, 0}, {1, 1, 0, 4, 0}, {0, 3, 3, 0, 0}, {1, 0, 0, 5, 0}, {0, 2, 0, 3, 1}};
  const auto ac1 = statistics::gwet_agreement(from_counts(counts), 5, AgreementWeights::identity);
  CHECK(ac1.coefficient.mean == Approx(0.4448007).margin(5e-8));
  CHECK(ac1.standard_error == Approx(0.08418757).margin(5e-9));
  CHECK(ac1.observed == Approx(0.5511111).margin(5e-8));
  CHECK(ac1.chance == Approx(0.1914815).margin(5e-8));
  CHECK(ac1.coefficient.low == Approx(0.264).margin(5e-4));
  CHECK(ac1.coefficient.high == Approx(0.625).margin(5e-4));
}

TEST_CASE("agreement: AC1 of two raters on Gwet's hundred patients is the published one", "[statistics]") {
  // The contingency table of two abstractors: 13 both ectopic, 20 both AIU, 7 AIU and NIU, 4 NIU and AIU, 56 both NIU.
  Ratings ratings(13, {0, 0});
  ratings.insert(ratings.end(), 20, {1, 1});
  ratings.insert(ratings.end(), 7, {1, 2});
  ratings.insert(ratings.end(), 4, {2, 1});
  ratings.insert(ratings.end(), 56, {2, 2});
  const auto ac1 = statistics::gwet_agreement(ratings, 3, AgreementWeights::identity);
  CHECK(ac1.coefficient.mean == Approx(0.8493305).margin(5e-8));
  CHECK(ac1.observed == Approx(0.89));
  // Published for a table: 0.04321747, which divides by n^2 where the formula for any number of raters has n (n - 1).
  CHECK(ac1.standard_error == Approx(0.04321747 * std::sqrt(100.0 / 99)).margin(1e-8));
}

TEST_CASE("agreement: AC2 with each weight scheme equals Gwet's formulas in the package irrCAC", "[statistics]") {
  const auto four = [](AgreementWeights weights) { return statistics::gwet_agreement(kFourRaters, 5, weights); };
  check_agreement(four(AgreementWeights::identity), {0.7754440681, 0.1429499506, 0.8181818182, 0.1903211806, 0.4608133481, 1});
  check_agreement(four(AgreementWeights::linear), {0.8587391364, 0.1173290219, 0.9393939394, 0.5709635417, 0.6004997004, 1});
  check_agreement(four(AgreementWeights::quadratic), {0.9140007236, 0.1039622446, 0.9753787879, 0.7137044271, 0.6851813659, 1});
  check_agreement(four(AgreementWeights::ordinal), {0.8989397699, 0.1069035238, 0.9681818182, 0.68515625, 0.6636467004, 1});

  const auto five = [](AgreementWeights weights) { return statistics::gwet_agreement(kFiveObservers, 4, weights); };
  check_agreement(five(AgreementWeights::identity), {0.4966220549, 0.121973368, 0.6155555556, 0.2362707819, 0.2350151989, 0.7582289109});
  check_agreement(five(AgreementWeights::linear), {0.6896394229, 0.0876907591, 0.8607407407, 0.5512984911, 0.5015614501, 0.8777173957});
  check_agreement(five(AgreementWeights::quadratic), {0.8304335727, 0.0582464052, 0.9461728395, 0.6825600366, 0.7055074582, 0.9553596871});
  check_agreement(five(AgreementWeights::ordinal), {0.7853417936, 0.0681875708, 0.9248148148, 0.6497446502, 0.6390939994, 0.9315895877});
}

TEST_CASE("agreement: categories that nobody used, items of one rater and items of none count as in Gwet's formulas", "[statistics]") {
  const auto sample = [](AgreementWeights weights) { return statistics::gwet_agreement(by_formula(), 5, weights); };
  CHECK(sample(AgreementWeights::identity).items == 54);
  CHECK(sample(AgreementWeights::identity).shared_items == 23);
  check_agreement(sample(AgreementWeights::identity), {0.5401621223, 0.133426848, 0.6231884058, 0.1805555556, 0.2725417566, 0.807782488});
  check_agreement(sample(AgreementWeights::linear), {0.7944664032, 0.1364866287, 0.9057971014, 0.5416666667, 0.5207088944, 1});
  check_agreement(sample(AgreementWeights::quadratic), {0.9270687237, 0.149639483, 0.9764492754, 0.6770833333, 0.6269299302, 1});
  check_agreement(sample(AgreementWeights::ordinal), {0.8923395445, 0.1455978985, 0.9623188406, 0.65, 0.6003071429, 1});
}

TEST_CASE("agreement: worked by hand for two categories", "[statistics]") {
  // Three items of two raters: yes yes, no no, yes no. p_a = 2/3, pi = 1/2 each, p_e = 2 (1/2)(1/2) / 1 = 1/2, so AC1 = 1/3.
  // gamma_i = (p_ai - 1/2) / (1/2) = 1, 1, -1; p_ei = 1/2 for every item. v = ((2/3)^2 + (2/3)^2 + (4/3)^2) / 6 = 4/9.
  const Ratings ratings = {{1, 1}, {0, 0}, {1, 0}};
  const auto ac1 = statistics::gwet_agreement(ratings, 2, AgreementWeights::identity);
  const double t = 4.302652729911275;  // t(0.975, 2)
  check_agreement(ac1, {1.0 / 3, 2.0 / 3, 2.0 / 3, 0.5, 1.0 / 3 - t * 2 / 3, 1}, 1e-12);
  // On a scale of two categories every scheme is the unweighted one.
  for (const auto& weights : names(AgreementWeights{}))
    CHECK(statistics::gwet_agreement(ratings, 2, weights.value).coefficient.mean == Approx(1.0 / 3));
}

TEST_CASE("agreement: raters who always agree have 1 without an error, in one category and in several", "[statistics]") {
  for (const auto& weights : names(AgreementWeights{}))
    for (const Ratings& ratings : {Ratings{{4, 4, 4}, {4, 4}, {4, 4, 4}}, Ratings{{0, 0}, {1, 1, 1}, {4, 4}}}) {
      const auto agreement = statistics::gwet_agreement(ratings, 5, weights.value);
      check_agreement(agreement, {1, 0, 1, agreement.chance, 1, 1}, 1e-12);
    }
  CHECK(statistics::gwet_agreement({{4, 4}, {4, 4}}, 5, AgreementWeights::ordinal).chance == 0);
}

TEST_CASE("agreement: opposite ratings are below chance, down to which the interval is not cut", "[statistics]") {
  const auto ac1 = statistics::gwet_agreement({{0, 1}, {1, 0}, {0, 1}, {1, 1}}, 2, AgreementWeights::identity);
  CHECK(ac1.coefficient.mean < 0);
  CHECK(ac1.coefficient.low < -1);
}

TEST_CASE("agreement: what cannot be computed is NaN, what cannot be is refused", "[statistics]") {
  const auto none = statistics::gwet_agreement({{}, {}}, 5, AgreementWeights::identity);
  CHECK((none.items == 0 && none.shared_items == 0));
  CHECK((std::isnan(none.coefficient.mean) && std::isnan(none.chance)));
  const auto alone = statistics::gwet_agreement({{1}, {2}, {}}, 5, AgreementWeights::identity);
  CHECK((alone.items == 2 && alone.shared_items == 0));
  CHECK((std::isnan(alone.coefficient.mean) && std::isnan(alone.coefficient.low) && std::isnan(alone.standard_error)));
  CHECK(std::isnan(alone.observed));
  CHECK(alone.chance == Approx(0.125));  // pi = 1/2 twice: (1/4 + 1/4) / 4
  const auto one_item = statistics::gwet_agreement({{1, 1, 2}}, 5, AgreementWeights::identity);
  CHECK(one_item.observed == Approx(1.0 / 3));
  CHECK(std::isfinite(one_item.coefficient.mean));
  CHECK((std::isnan(one_item.standard_error) && std::isnan(one_item.coefficient.low)));
  CHECK_THROWS_AS(statistics::gwet_agreement({{0, 0}}, 1, AgreementWeights::identity), keel::core::Error);
  CHECK_THROWS_AS(statistics::gwet_agreement({{0, 5}}, 5, AgreementWeights::identity), keel::core::Error);
  CHECK_THROWS_AS(statistics::gwet_agreement({{-1, 0}}, 5, AgreementWeights::identity), keel::core::Error);
}
