#include "evaluation/reward_evaluation.h"

#include <cmath>

#include "core/error.h"
#include "support/test_plain.h"

using namespace keel::evaluation;
using Catch::Approx;

namespace {

double oracle_wave(double a, double b, int i) {
  return std::round((std::sin(a * i + 1.0) + 0.3 * std::cos(b * i)) * 1e6) / 1e6;
}

// The pairs of tools/oracle/reward_evaluation.py.
std::vector<ScoredPair> oracle_pairs() {
  std::vector<ScoredPair> pairs;
  for (int i = 0; i < 60; ++i) {
    ScoredPair pair{.chosen = oracle_wave(0.7, 0.3, i) + 0.5, .rejected = oracle_wave(0.9, 1.1, i), .strength = i % 5};
    if (i % 10 != 3) {
      pair.chosen_safe = i % 7 != 0;
      pair.rejected_safe = i % 2 == 0;
    }
    pair.source = i % 2 == 0 ? "even" : "odd";
    pair.batch = std::to_string(9 + i % 3);
    pair.chosen_tokens = 5 + 7 * i % 23;
    pair.rejected_tokens = 4 + 11 * i % 19;
    pairs.push_back(pair);
  }
  return pairs;
}

std::vector<ScoredPair> second_model() {
  std::vector<ScoredPair> pairs = oracle_pairs();
  for (int i = 0; i < 60; ++i) {
    pairs[static_cast<size_t>(i)].chosen = oracle_wave(0.5, 0.2, i) + 0.3;
    pairs[static_cast<size_t>(i)].rejected = 0;
  }
  return pairs;
}

void check_accuracy(const Accuracy& accuracy, int64_t correct, int64_t pairs) {
  CHECK(accuracy.correct == correct);
  CHECK(accuracy.pairs == pairs);
}

}  // namespace

TEST_CASE("reward evaluation: accuracy overall, by strength, source, batch and safety bin is that of a numpy program", "[evaluation]") {
  const RewardEvaluation result = evaluate_reward(oracle_pairs());
  check_accuracy(result.all, 37, 60);
  CHECK(result.all.interval.low == Approx(statistics::wilson(37, 60).low));
  const int64_t by_strength[] = {8, 7, 8, 6, 8};
  for (size_t strength = 0; strength < 5; ++strength)
    check_accuracy(result.by_strength[strength], by_strength[strength], 12);
  REQUIRE(result.by_source.size() == 2);
  CHECK(result.by_source[0].first == "even");
  check_accuracy(result.by_source[0].second, 19, 30);
  REQUIRE(result.by_batch.size() == 3);
  CHECK(result.by_batch[0].first == "9");  // before "10"
  check_accuracy(result.by_batch[0].second, 13, 20);
  REQUIRE(result.by_safety.size() == 4);
  CHECK(result.by_safety[0].first == "safe over unsafe");
  check_accuracy(result.by_safety[0].second, 15, 20);
  check_accuracy(result.by_safety[1].second, 17, 25);
  check_accuracy(result.by_safety[2].second, 1, 4);
  check_accuracy(result.by_safety[3].second, 2, 5);
}

TEST_CASE("reward evaluation: loss, difference, calibration and temperature are those of numpy and scipy", "[evaluation]") {
  const RewardEvaluation result = evaluate_reward(oracle_pairs());
  CHECK(result.loss.mean == Approx(0.6078079299071635));
  CHECK((result.loss.low < result.loss.mean && result.loss.mean < result.loss.high));
  CHECK(result.difference.mean == Approx(0.4728587666666666));
  CHECK(result.calibration.error == Approx(0.1425677127490915));
  CHECK(result.calibration.error_by_chance.mean == Approx(0.1345833).margin(0.004));
  CHECK(result.calibration.temperature.temperature == Approx(1.2323752500731107).epsilon(1e-6));
  CHECK(result.calibration.temperature.loss_before == Approx(result.loss.mean));
  const auto& interval = result.calibration.temperature_interval;
  CHECK((interval.low < 1.2323752500731107 && 1.2323752500731107 < interval.high));
  auto doubled = oracle_pairs();
  for (auto& pair : doubled)
    pair.chosen *= 2, pair.rejected *= 2;
  const auto wider = evaluate_reward(doubled).calibration.temperature_interval;
  CHECK(wider.low == Approx(2 * interval.low).epsilon(1e-6));
  CHECK(wider.high == Approx(2 * interval.high).epsilon(1e-6));
}

TEST_CASE("reward evaluation: unsafe answers are those below a probability, among labelled ones", "[evaluation]") {
  const RewardEvaluation result = evaluate_reward(oracle_pairs());
  REQUIRE(result.unsafe);
  CHECK(result.unsafe->unsafe.size() == 108);
  const auto half = result.unsafe->at(0.5);
  CHECK(half.flagged == 43);
  CHECK(half.hits == 15);
  CHECK(half.wanted == 33);
  CHECK(half.recall() == Approx(15 / 33.0));
  CHECK(result.unsafe->at(0.3).flagged == 7);
  CHECK(result.unsafe->at(0.3).hits == 3);
  CHECK(result.unsafe->at(0.15).flagged == 0);
  const auto reached =
      statistics::detection_of_precision(statistics::precision_recall_curve(result.unsafe->probabilities, result.unsafe->unsafe), 0.4);
  REQUIRE(reached);
  CHECK(reached->flagged == 22);
  CHECK(reached->hits == 9);
}

TEST_CASE("reward evaluation: correlation with length is scipy's, pairs drawn as a whole", "[evaluation]") {
  const LengthBias length = evaluate_reward(oracle_pairs(), {.seed = 0, .replicates = 10000}).length;
  CHECK(length.pearson.mean == Approx(0.018307767685505263).epsilon(1e-9));
  CHECK(length.pearson.low == Approx(-0.1940).margin(0.01));
  CHECK(length.pearson.high == Approx(0.2234).margin(0.01));
  CHECK(length.spearman.mean == Approx(0.013618951206051468).epsilon(1e-9));
  check_accuracy(length.longer_chosen, 37, 57);
  check_accuracy(length.longer_scores_higher, 31, 57);
}

TEST_CASE("reward evaluation: agreement of two models beyond chance is that of a numpy program", "[evaluation]") {
  const RewardAgreement agreement = reward_agreement(oracle_pairs(), second_model(), {.seed = 0, .replicates = 10000});
  CHECK(agreement.pairs == 60);
  CHECK(agreement.share.mean == Approx(32 / 60.0));
  CHECK(agreement.kappa.mean == Approx(0.028901734104046367));
  CHECK(agreement.kappa.low == Approx(-0.22093).margin(0.01));
  CHECK(agreement.kappa.high == Approx(0.28030).margin(0.01));
  CHECK(reward_agreement(oracle_pairs(), oracle_pairs()).kappa.mean == Approx(1));
  CHECK_THROWS_AS(reward_agreement(oracle_pairs(), {}), keel::core::Error);
}

TEST_CASE("reward evaluation: pairs that share a prompt count for less, as in a numpy program", "[evaluation]") {
  const auto share_prompts = [](std::vector<ScoredPair> pairs) {
    for (int i = 0; i < 60; ++i)
      pairs[static_cast<size_t>(i)].prompt = i < 40 ? i / 4 : i - 30;
    return pairs;
  };
  const auto check = [](const statistics::Interval& interval, double low, double high, double tolerance) {
    CHECK(interval.low == Approx(low).margin(tolerance));
    CHECK(interval.high == Approx(high).margin(tolerance));
  };
  const statistics::Bootstrap many{.seed = 0, .replicates = 10000};
  const RewardEvaluation result = evaluate_reward(share_prompts(oracle_pairs()), many), apart = evaluate_reward(oracle_pairs());
  CHECK(result.prompts == 30);
  CHECK(apart.prompts == 60);
  check_accuracy(result.all, 37, 60);
  check(result.all.interval, 0.4746406565387358, 0.741230105152108, 1e-9);  // 60 pairs as good as 47.5
  check(result.by_strength[3].interval, 0.2537815976337061, 0.7462184023662939, 1e-9);
  check(result.by_source[0].second.interval, 0.45513563654794864, 0.7812607919389929, 1e-9);
  check(result.unsafe->precision(0.5), 0.2241858999735271, 0.49828218007147956, 1e-9);
  check(result.unsafe->recall(0.5), 0.29842938513876116, 0.6201406146378254, 1e-9);
  check(result.loss, 0.47372300068196366, 0.749598109112646, 0.01);
  check(result.length.pearson, -0.1716114708654695, 0.19889853812743305, 0.01);
  CHECK(result.loss.mean == Approx(apart.loss.mean));
  CHECK(result.loss.high - result.loss.low > apart.loss.high - apart.loss.low);

  const auto a = share_prompts(oracle_pairs()), b = share_prompts(second_model());
  const RewardAgreement agreement = reward_agreement(a, b, many);
  check(agreement.share, 0.36655728676721383, 0.6929777210153265, 1e-9);
  check(agreement.kappa, -0.29083710136963387, 0.3377244442487091, 0.015);
  const statistics::Interval difference = accuracy_difference(a, b, many);
  CHECK(difference.mean == Approx(2 / 60.0));
  check(difference, -0.15384615384615385, 0.21333333333333326, 0.01);
  CHECK(accuracy_difference(a, a).high == 0);
  CHECK_THROWS_AS(accuracy_difference(a, {}), keel::core::Error);
}

TEST_CASE("reward evaluation: what does not apply is absent, equal scores are no agreement", "[evaluation]") {
  const std::vector<ScoredPair> plain = {{.chosen = 1, .rejected = 0}, {.chosen = 2, .rejected = 2}, {.chosen = -1, .rejected = 3}};
  const RewardEvaluation result = evaluate_reward(plain);
  check_accuracy(result.all, 1, 3);
  check_accuracy(result.by_strength[0], 1, 3);
  CHECK(result.by_source.empty());
  CHECK(result.by_batch.empty());
  CHECK(result.by_safety.empty());
  CHECK_FALSE(result.unsafe);
  CHECK(std::isnan(result.length.pearson.mean));
  CHECK(result.length.longer_chosen.pairs == 0);
  CHECK_THROWS_AS(evaluate_reward({}), keel::core::Error);
  CHECK_THROWS_AS(evaluate_reward({{.chosen = NAN, .rejected = 0}}), keel::core::Error);
}
