#include "evaluation/statistics/decisions.h"

#include <cmath>

#include "core/error.h"
#include "support/test_plain.h"

namespace statistics = keel::evaluation::statistics;
using Catch::Approx;

TEST_CASE("decisions: a threshold flags what lies below it, and not what stands on it", "[statistics]") {
  const auto found = statistics::detect_below({0.1, 0.2, 0.2, 0.3, 0.9}, {true, true, false, true, false}, 0.3);
  CHECK(found.flagged == 3);
  CHECK(found.hits == 2);
  CHECK(found.wanted == 3);
  CHECK(found.precision() == Approx(2 / 3.0));
  CHECK(found.recall() == Approx(2 / 3.0));
  const auto nothing = statistics::detect_below({0.1}, {false}, 0.05);
  CHECK(std::isnan(nothing.precision()));
  CHECK(std::isnan(nothing.recall()));
  CHECK_THROWS_AS(statistics::detect_below({0.1}, {}, 0.5), keel::core::Error);
}

TEST_CASE("decisions: the precision-recall curve by hand, equal scores together", "[statistics]") {
  const std::vector<double> scores = {0.9, 0.2, 0.1, 0.2, 0.3};
  const std::vector<bool> wanted = {false, false, true, true, true};
  const auto curve = statistics::precision_recall_curve(scores, wanted);
  REQUIRE(curve.size() == 4);
  const int64_t flagged[] = {1, 3, 4, 5}, hits[] = {1, 2, 3, 3};
  for (size_t i = 0; i < 4; ++i) {
    CHECK(curve[i].flagged == flagged[i]);
    CHECK(curve[i].hits == hits[i]);
    const auto again = statistics::detect_below(scores, wanted, curve[i].threshold);
    CHECK(again.flagged == flagged[i]);
    CHECK(again.hits == hits[i]);
  }
  CHECK(curve[0].threshold == Approx(0.15));
  CHECK(curve[2].threshold == Approx(0.6));
  // Precisions 1, 2/3, 3/4, 3/5.
  CHECK(statistics::detection_of_precision(curve, 0.75)->flagged == 4);
  CHECK(statistics::detection_of_precision(curve, 0.76)->flagged == 1);
  CHECK(statistics::detection_of_precision(curve, 0.1)->flagged == 5);
  CHECK_FALSE(statistics::detection_of_precision({}, 0.5));
  CHECK(statistics::precision_recall_curve({}, {}).empty());
}

TEST_CASE("decisions: neighbouring numbers still get thresholds between them", "[statistics]") {
  const double low = 0.3, high = std::nextafter(0.3, 1.0);
  const auto curve = statistics::precision_recall_curve({high, low}, {false, true});
  REQUIRE(curve.size() == 2);
  CHECK(statistics::detect_below({high, low}, {false, true}, curve[0].threshold).flagged == 1);
  CHECK(statistics::detect_below({high, low}, {false, true}, curve[1].threshold).flagged == 2);
}

TEST_CASE("decisions: kappa of the textbook table", "[statistics]") {
  // 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: share 0.7, chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa 0.4.
  std::vector<bool> a, b;
  const auto add = [&](int count, bool first, bool second) {
    a.insert(a.end(), static_cast<size_t>(count), first);
    b.insert(b.end(), static_cast<size_t>(count), second);
  };
  add(20, true, true);
  add(5, true, false);
  add(10, false, true);
  add(15, false, false);
  const auto agreement = statistics::judge_agreement(a, b);
  CHECK(agreement.share == Approx(0.7));
  CHECK(agreement.kappa == Approx(0.4));
  CHECK(statistics::judge_agreement(a, a).kappa == Approx(1));
  CHECK(std::isnan(statistics::judge_agreement({true, true}, {true, true}).kappa));
  CHECK_THROWS_AS(statistics::judge_agreement({true}, {}), keel::core::Error);
}

namespace {

// Items of two judges from the counts of a table [a][b].
std::pair<std::vector<int64_t>, std::vector<int64_t>> items_of(const std::vector<std::vector<int>>& table) {
  std::pair<std::vector<int64_t>, std::vector<int64_t>> items;
  for (size_t a = 0; a < table.size(); ++a)
    for (size_t b = 0; b < table[a].size(); ++b)
      for (int i = 0; i < table[a][b]; ++i) {
        items.first.push_back(static_cast<int64_t>(a));
        items.second.push_back(static_cast<int64_t>(b));
      }
  return items;
}

void check_kappa(const std::vector<std::vector<int>>& table, double kappa, double low, double high) {
  const auto [a, b] = items_of(table);
  const auto interval = statistics::cohen_kappa(a, b);
  CHECK(interval.mean == Approx(kappa).epsilon(1e-12));
  CHECK(interval.low == Approx(low).epsilon(1e-12));
  CHECK(interval.high == Approx(high).epsilon(1e-12));
  const auto swapped = statistics::cohen_kappa(b, a);  // the judges have equal parts
  CHECK(swapped.mean == Approx(kappa).epsilon(1e-12));
  CHECK(swapped.low == Approx(low).epsilon(1e-12));
}

}  // namespace

// From statsmodels, tools/oracle/refusals.py; the second table is that of Fleiss, Cohen and Everitt (1969), who print kappa = 0.429.
TEST_CASE("decisions: kappa's interval equals that of another program", "[statistics]") {
  check_kappa({{20, 5}, {10, 15}}, 0.4, 0.151092290476661, 0.6489077095233389);
  check_kappa({{106, 10, 4}, {22, 28, 10}, {2, 12, 6}}, 0.4285714285714285, 0.32329979345440496, 0.533843063688452);
  check_kappa({{7, 2, 0}, {1, 9, 0}, {3, 1, 0}}, 0.4806451612903225, 0.2043255045784566, 0.7569648180021884);
}

TEST_CASE("decisions: kappa of perfect, opposite and constant judges", "[statistics]") {
  const auto perfect = statistics::cohen_kappa({1, 2, 3, 1}, {1, 2, 3, 1});
  CHECK(perfect.mean == Approx(1));
  CHECK(perfect.low == Approx(1));
  CHECK(perfect.high == Approx(1));
  CHECK(statistics::cohen_kappa({0, 1}, {1, 0}).mean == Approx(-1));
  CHECK(statistics::cohen_kappa({0, 1}, {1, 0}).low >= -1);
  CHECK(statistics::cohen_kappa({5, 5}, {5, 6}).mean == Approx(0));  // no more than chance
  CHECK(std::isnan(statistics::cohen_kappa({5, 5}, {5, 5}).mean));   // chance is 1
  CHECK(statistics::cohen_kappa({5, 5}, {6, 6}).mean == Approx(0));
  CHECK(std::isnan(statistics::cohen_kappa({}, {}).low));
  CHECK_THROWS_AS(statistics::cohen_kappa({1}, {}), keel::core::Error);
}
