#include "reward/ranking_loss.h"

#include "support/gradient.h"
#include "support/test.h"

using namespace keel::reward;
using keel::test::tensor;

namespace {

at::Tensor longs(std::initializer_list<int64_t> values) {
  return at::tensor(std::vector<int64_t>(values), at::kLong);
}

// The three pairs of tools/oracle/ppo_formulas.py.
const keel::core::TokenPair kThreePairs[] = {{.chosen = {1}, .rejected = {2}, .strength = 4, .chosen_safe = true, .rejected_safe = false},
                                             {.chosen = {1}, .rejected = {2}, .strength = 1, .chosen_safe = {}, .rejected_safe = true},
                                             {.chosen = {1}, .rejected = {2}, .strength = 2, .chosen_safe = false, .rejected_safe = {}}};
const auto kChosen = {1.5, -.25, .75};
const auto kRejected = {.5, .25, -1.25};

}  // namespace

TEST_CASE("ranking loss: differences .5, -.5, 2 with every margin give the published and derived values", "[reward]") {
  const at::Tensor chosen = tensor({.5, -.5, 2}), rejected = tensor({0, 0, 0});
  const auto at_margin = [&](double margin) { return ranking_loss(chosen, rejected, at::full({3}, margin)); };
  CHECK_CLOSE(at_margin(0), tensor({.474077, .974077, .126928}), 1e-6);
  CHECK_CLOSE(at_margin(0).mean(), at::scalar_tensor(.525027), 1e-6);
  CHECK_CLOSE(at_margin(1. / 3), tensor({.613282, 1.194218, .173008}), 1e-6);
  CHECK_CLOSE(at_margin(1. / 3).mean(), at::scalar_tensor(.660169), 1e-6);
  CHECK_CLOSE(at_margin(2. / 3), tensor({.779949, 1.437764, .233963}), 1e-6);
  CHECK_CLOSE(at_margin(1), tensor({.974077, 1.701413, .313262}), 1e-6);
  CHECK_CLOSE(at_margin(1).mean(), at::scalar_tensor(.996251), 1e-6);
  CHECK_CLOSE(at_margin(3), tensor({2.57889, 3.52975, 1.313262}), 1e-5);
}

TEST_CASE("ranking loss: a hopeless pair has a finite loss and gradient", "[reward]") {
  const at::Tensor chosen = tensor({-500., 500.}).requires_grad_(true);
  const at::Tensor loss = ranking_loss(chosen, tensor({500., -500.}), at::zeros({2}));
  CHECK_CLOSE(loss, tensor({1000, 0}), 1e-4);
  loss.sum().backward();
  CHECK_CLOSE(chosen.grad(), tensor({-1, 0}), 1e-6);
}

TEST_CASE("margins: table 27 of the paper by strength, none for an unrecorded one", "[reward]") {
  const at::Tensor strength = longs({4, 3, 2, 1, 0});
  const RewardLossConfig small{.margin = Margin::small};
  CHECK_CLOSE(margins(strength, {.margin = Margin::none}), tensor({0, 0, 0, 0, 0}), 0);
  CHECK_CLOSE(margins(strength, small), tensor({1, 2. / 3, 1. / 3, 0, 0}), 1e-7);
  CHECK_CLOSE(margins(strength, {.margin = Margin::large}), tensor({3, 2, 1, 0, 0}), 0);
  CHECK_THROWS_AS(margins(longs({1, 5}), small), c10::Error);
  CHECK_THROWS_AS(margins(longs({-1}), small), c10::Error);
  CHECK(margins(longs({}), small).numel() == 0);
}

TEST_CASE("margins: an own table is given for strength 4 to 1, and only with margin own", "[reward]") {
  const RewardLossConfig own{.margin = Margin::own, .margin_table = {2, 1.5, .25, .125}};
  CHECK(problems_of(own).empty());
  CHECK_CLOSE(margins(longs({0, 1, 2, 3, 4}), own), tensor({0, .125, .25, 1.5, 2}), 0);
  CHECK(problems_of({}).empty());
  for (const RewardLossConfig& wrong :
       {RewardLossConfig{.margin = Margin::own}, RewardLossConfig{.margin = Margin::own, .margin_table = {3, 2, 1}},
        RewardLossConfig{.margin = Margin::small, .margin_table = {3, 2, 1, 0}}}) {
    CHECK(problems_of(wrong).size() == 1);
    CHECK_THROWS_AS(margins(longs({1}), wrong), c10::Error);
  }
}

TEST_CASE("safety loss: cross-entropy of sigmoid(score) with the label, nothing without a label", "[reward]") {
  // score 0 costs log 2 with either label; log(1 + e^-2) = .126928 and log(1 + e^2) = 2.126928 at score 2.
  CHECK_CLOSE(safety_loss(tensor({0, 0, 2, 2, 9}), longs({1, 0, 1, 0, -1})), tensor({.693147, .693147, .126928, 2.126928, 0}), 1e-6);
}

TEST_CASE("reward loss: three terms of three pairs agree with an independent program", "[reward]") {
  const RewardLossConfig config{.margin = Margin::small, .centring = .01, .safety_weight = .5};
  const RewardLossCounts counts = loss_counts(kThreePairs);
  CHECK(counts.pairs == 3);
  CHECK(counts.safety_labels == 4);
  const RewardLoss loss = reward_loss(tensor(kChosen), tensor(kRejected), pair_labels(kThreePairs), counts, config);
  CHECK_CLOSE(loss.ranking, at::scalar_tensor(.613410718), 1e-6);
  CHECK_CLOSE(loss.centring, at::scalar_tensor(1.416666667), 1e-6);
  CHECK_CLOSE(loss.safety, at::scalar_tensor(.722075172), 1e-6);
  CHECK_CLOSE(loss.loss, at::scalar_tensor(.988614971), 1e-6);
}

TEST_CASE("reward loss: micro-batches add up to the batch, though their label counts differ", "[reward]") {
  const RewardLossConfig config{.margin = Margin::large, .centring = .1, .safety_weight = 2};
  const RewardLossCounts counts = loss_counts(kThreePairs);
  const std::span<const keel::core::TokenPair> pairs(kThreePairs);
  const at::Tensor chosen = tensor(kChosen).requires_grad_(true), rejected = tensor(kRejected).requires_grad_(true);
  const at::Tensor whole = reward_loss(chosen, rejected, pair_labels(pairs), counts, config).loss;
  whole.backward();
  const at::Tensor whole_gradient = at::cat({chosen.grad(), rejected.grad()});
  chosen.mutable_grad() = at::Tensor();
  rejected.mutable_grad() = at::Tensor();

  double sum = 0;
  for (const auto& [begin, size] : {std::pair<size_t, size_t>{0, 1}, {1, 2}}) {
    const auto first = static_cast<int64_t>(begin), last = static_cast<int64_t>(begin + size);
    const RewardLoss part =
        reward_loss(chosen.slice(0, first, last), rejected.slice(0, first, last), pair_labels(pairs.subspan(begin, size)), counts, config);
    part.loss.backward();
    sum += part.loss.item<double>();
  }
  CHECK(sum == Catch::Approx(whole.item<double>()).epsilon(1e-6));
  CHECK_CLOSE(at::cat({chosen.grad(), rejected.grad()}), whole_gradient, 1e-6);
}

TEST_CASE("reward loss: its gradient is that of finite differences", "[reward]") {
  const RewardLossConfig config{.margin = Margin::small, .centring = .3, .safety_weight = .7};
  const auto loss = [&](const at::Tensor& scores) {
    return reward_loss(scores.slice(0, 0, 3), scores.slice(0, 3, 6), pair_labels(kThreePairs), loss_counts(kThreePairs), config).loss;
  };
  const at::Tensor point = at::cat({tensor(kChosen), tensor(kRejected)}).to(at::kDouble);
  CHECK(keel::test::gradient_error(loss, point) < 1e-8);
}

TEST_CASE("reward loss: a micro-batch without pairs and labels has a loss of 0", "[reward]") {
  const RewardLossConfig config{.margin = Margin::small, .centring = 1, .safety_weight = 1};
  const RewardLoss loss = reward_loss(at::empty({0}), at::empty({0}), pair_labels({}), {.pairs = 3}, config);
  CHECK(loss.loss.item<double>() == 0);
}

TEST_CASE("reward loss: shapes and counts that do not fit are refused", "[reward]") {
  const PairLabels labels = pair_labels(kThreePairs);
  CHECK_THROWS_AS(reward_loss(at::zeros({3}), at::zeros({2}), labels, {.pairs = 3}, {}), c10::Error);
  CHECK_THROWS_AS(reward_loss(at::zeros({2}), at::zeros({2}), labels, {.pairs = 3}, {}), c10::Error);
  PairLabels others = labels;
  others.rejected_safe = others.rejected_safe.slice(0, 0, 2);
  CHECK_THROWS_AS(reward_loss(at::zeros({3}), at::zeros({3}), others, {.pairs = 3, .safety_labels = 4}, {}), c10::Error);
}

TEST_CASE("reward loss: a count that is below what is here, zero or negative is refused by name", "[reward]") {
  using Catch::Matchers::ContainsSubstring;
  const auto loss_of = [](std::span<const keel::core::TokenPair> pairs, RewardLossCounts counts) {
    const at::Tensor zeros = at::zeros({std::ssize(pairs)});
    return reward_loss(zeros, zeros, pair_labels(pairs), counts, {}).loss;
  };
  for (const int64_t pairs : {2, 0, -3})
    CHECK_THROWS_WITH(
        loss_of(kThreePairs, {.pairs = pairs, .safety_labels = 4}),
        ContainsSubstring("counts.pairs must count the pairs of the whole step, got " + std::to_string(pairs) + " for 3 pairs"));
  for (const int64_t labels : {3, 0, -1})
    CHECK_THROWS_WITH(loss_of(kThreePairs, {.pairs = 3, .safety_labels = labels}),
                      ContainsSubstring("counts.safety_labels must count the safety labels of the whole step, got " +
                                        std::to_string(labels) + " for 4 labels"));
  for (const int64_t pairs : {0, -1})  // a step has pairs, though this micro-batch has none
    CHECK_THROWS_WITH(loss_of({}, {.pairs = pairs}), ContainsSubstring("counts.pairs"));
  CHECK_THROWS_WITH(loss_of({}, {.pairs = 1, .safety_labels = -1}), ContainsSubstring("counts.safety_labels"));
  CHECK_NOTHROW(loss_of(kThreePairs, {.pairs = 3, .safety_labels = 4}));
  CHECK_NOTHROW(loss_of(kThreePairs, {.pairs = 9, .safety_labels = 9}));
}
