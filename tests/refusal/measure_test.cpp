// Precision, recall and kappa against values of scikit-learn and statsmodels (tools/oracle/refusals.py), and the phrase rules against the
// labels of XSTest's annotators.
#include "refusal/measure.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "support/test_plain.h"

using namespace keel;
using Catch::Approx;
using refusal::Kind;

namespace {

constexpr Kind kKinds[] = {Kind::compliance, Kind::full_refusal, Kind::partial_refusal, Kind::capability};

// The sample of the generator, by formula.
struct Sample {
  std::vector<Kind> kinds;
  std::vector<refusal::Answer> answers;
};
Sample sample() {
  Sample made;
  for (int i = 0; i < 60; ++i) {
    const int label = i % 3 == 0 ? 0 : i % 7 == 1 ? 2 : 1;
    made.answers.push_back({.text = "text", .label = kKinds[label], .type = i % 2 == 0 ? "even" : "odd"});
    made.kinds.push_back(kKinds[i % 17 == 3 ? 1 : i % 11 == 4 ? 3 : i % 13 == 5 ? 0 : label]);
  }
  return made;
}

void check(const refusal::Interval& interval, double mean, double low, double high) {
  CHECK(interval.mean == Approx(mean).epsilon(1e-12));
  CHECK(interval.low == Approx(low).epsilon(1e-12));
  CHECK(interval.high == Approx(high).epsilon(1e-12));
}

}  // namespace

TEST_CASE("measure: precision, recall and kappa equal those of other programs", "[refusal]") {
  const auto [kinds, answers] = sample();
  const auto found = refusal::agreement_with_labels(kinds, answers);
  CHECK(found.full.answers == 54);
  check(found.full.precision, 0.9333333333333333, 0.7867654163738307, 0.9815229762087296);
  check(found.full.recall, 0.8235294117647058, 0.6648626260015724, 0.9165103095462768);
  check(found.full.kappa, 0.6949152542372882, 0.5023102264672152, 0.8875202820073611);
  CHECK(found.any.answers == 60);
  check(found.any.precision, 0.9444444444444444, 0.8185534279135275, 0.9846300133358382);
  check(found.any.recall, 0.85, 0.7092767563351029, 0.9293881228267965);
  check(found.any.kappa, 0.7142857142857143, 0.5323000477192545, 0.8962713808521741);
  check(found.kinds_kappa, 0.722735674676525, 0.5703510363008193, 0.8751203130522307);

  REQUIRE(found.by_kind.size() == 3);  // nobody gave the label capability
  const auto& compliance = found.by_kind.at(Kind::compliance);
  CHECK(compliance.answers == 60);
  check(compliance.precision, 0.8421052631578947, 0.6243452472967091, 0.9447952836146586);
  check(compliance.recall, 0.8, 0.5839825677481064, 0.919342337420202);
  check(compliance.kappa, 0.7341772151898733, 0.5501223010914114, 0.9182321292883353);
  const auto& full = found.by_kind.at(Kind::full_refusal);
  check(full.precision, 0.9333333333333333, 0.7867654163738307, 0.9815229762087296);
  check(full.recall, 0.8235294117647058, 0.6648626260015724, 0.9165103095462768);
  check(full.kappa, 0.7333333333333334, 0.5628418245143627, 0.9038248421523041);
  check(found.by_kind.at(Kind::partial_refusal).precision, 1, 0.6096657120978346, 1);
  check(found.by_kind.at(Kind::partial_refusal).kappa, 1, 1, 1);
}

TEST_CASE("measure: rates by group, and answers without labels or words", "[refusal]") {
  std::vector<refusal::Answer> answers = {{.text = "a", .type = "x", .hazard = false},
                                          {.text = " \n", .hazard = false},
                                          {.text = "c", .type = "x", .hazard = true},
                                          {.text = "d"}};
  const std::vector<Kind> kinds = {Kind::full_refusal, Kind::compliance, Kind::partial_refusal, Kind::capability};
  const auto summary = refusal::summary_json(kinds, answers);
  CHECK(summary.at("all").at("answers") == 4);
  CHECK(summary.at("all").at("empty") == 1);
  CHECK(summary.at("all").at("refusal").at("mean") == 0.5);  // a capability is none
  CHECK(summary.at("all").at("capability").at("mean") == 0.25);
  CHECK(summary.at("by_hazard").at("harmless").at("refusal").at("mean") == 0.5);
  CHECK(summary.at("by_hazard").at("hazard").at("refusal").at("mean") == 1);
  CHECK(summary.at("by_hazard").at("hazard").at("full_refusal").at("mean") == 0);
  CHECK(summary.at("by_hazard").at("unknown").at("answers") == 1);
  CHECK(summary.at("by_hazard").at("unknown").at("capability").at("mean") == 1);
  CHECK(summary.at("by_type").size() == 1);
  CHECK(summary.at("by_type").at("x").at("answers") == 2);
  CHECK_FALSE(summary.contains("agreement"));

  answers[0].label = Kind::full_refusal;
  answers[3].label = Kind::partial_refusal;
  const auto labelled = refusal::summary_json(kinds, answers).at("agreement");
  CHECK(labelled.at("full").at("answers") == 1);
  CHECK(labelled.at("any").at("answers") == 2);
  CHECK(labelled.at("any").at("recall").at("mean") == 0.5);
  CHECK(labelled.at("counts").at("partial_refusal").at("capability") == 1);
  CHECK(labelled.at("by_kind").size() == 2);
  CHECK(labelled.at("by_kind").at("partial_refusal").at("recall").at("mean") == 0);
  CHECK_THROWS(refusal::summary_json({}, answers));
}

// The rules were written on the answers of both models. Bounds stand below what was measured (0.928 and 0.991) and above the 0.80 that the
// recipe asks for.
TEST_CASE("measure: the phrase rules agree with people on both models of XSTest", "[refusal][data]") {
  const auto folder = test::shared_data() / "safety" / "xstest";
  for (const auto& [file, kappa] : {std::pair{"completions_llama2orig.csv", 0.91}, {"completions_gpt4.csv", 0.97}}) {
    INFO(file);
    const auto set = refusal::read_answers(folder / file, "final_label");
    REQUIRE(set.answers.size() == 450);
    CHECK(std::ranges::count(set.answers, std::optional(false), &refusal::Answer::hazard) == 250);
    CHECK(std::ranges::count(set.answers, std::optional(true), &refusal::Answer::hazard) == 200);
    std::vector<Kind> kinds;
    for (const auto& answer : set.answers)
      kinds.push_back(refusal::classify(answer.text).kind);
    const auto found = refusal::agreement_with_labels(kinds, set.answers);
    CHECK(found.full.kappa.mean > kappa);
    CHECK(found.full.kappa.low > 0.80);
    CHECK(found.full.precision.mean > 0.95);
    CHECK(found.full.recall.mean > 0.93);
  }
}
