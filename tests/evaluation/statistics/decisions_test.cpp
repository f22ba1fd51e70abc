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
