#include "reward/pair_scores.h"

#include "support/tiny_model.h"

using namespace keel::reward;
using keel::core::Ids;
using keel::core::TokenPair;

namespace {

RewardModel formula_model() {
  RewardModel model = make_reward_model(keel::test::tiny_llama(), HeadStart::zeros, 0);
  keel::test::fill_by_formula(parameters(model));
  return model;
}

TokenPair sides(const Ids& chosen, const Ids& rejected) {
  TokenPair pair;
  pair.chosen = chosen;
  pair.rejected = rejected;
  return pair;
}

// Prompts of 9, 7 and 8 ids and short answers, so that sharing pays; the second pair's chosen side is the start of its rejected one.
const std::vector<TokenPair> kLongPrompts = {
    sides({1, 2, 3, 4, 5, 6, 7, 8, 9, 4, 4}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 2}),
    sides({3, 1, 4, 1, 5, 9, 2}, {3, 1, 4, 1, 5, 9, 2, 6, 5}),
    sides({2, 7, 1, 8, 2, 8, 1, 8, 3}, {2, 7, 1, 8, 2, 8, 1, 8, 5, 6, 7}),
};
const std::vector<TokenPair> kNothingShared = {sides({1, 2, 3, 4, 5, 6}, {2, 2, 3}), sides({7}, {7, 3})};

at::Tensor scores_apart(const RewardModel& model, const std::vector<TokenPair>& pairs) {
  std::vector<Ids> rows;
  for (const TokenPair& pair : pairs)
    rows.push_back(pair.chosen);
  for (const TokenPair& pair : pairs)
    rows.push_back(pair.rejected);
  return last_token_scores(model, keel::runtime::pad_right(rows)).view({2, -1});
}

}  // namespace

TEST_CASE("pair scores: what both sides share ends before the last token of either", "[reward]") {
  CHECK(shared_tokens(kLongPrompts[0]) == 9);
  CHECK(shared_tokens(kLongPrompts[1]) == 6);
  CHECK(shared_tokens(kNothingShared[0]) == 0);
  CHECK(shared_tokens(kNothingShared[1]) == 0);
  CHECK(shared_tokens(sides({1, 2}, {1, 2})) == 1);
  CHECK(pair_tokens(kLongPrompts[0]) == 12);
  CHECK(pair_tokens(kLongPrompts[1]) == 10);
}

TEST_CASE("pair scores: prompts computed once give the scores and gradients of rows of their own", "[reward]") {
  for (const auto& pairs : {kLongPrompts, kNothingShared}) {
    const RewardModel model = formula_model();
    const auto weights = parameters(model);
    keel::runtime::set_trainable(weights, true);
    const at::Tensor factors = at::arange(1, 1 + 2 * std::ssize(pairs), at::kFloat).view({2, -1});
    const at::Tensor apart = scores_apart(model, pairs);
    (apart * factors).sum().backward();
    std::vector<at::Tensor> gradients;
    for (const auto& weight : weights)
      gradients.push_back(weight.tensor.grad().clone());
    keel::runtime::clear_gradients(weights);

    const at::Tensor together = pair_scores(model, pairs);
    CHECK_CLOSE(together, apart, 1e-5);
    (together * factors).sum().backward();
    for (size_t i = 0; i < weights.size(); ++i)
      CHECK_CLOSE(weights[i].tensor.grad(), gradients[i], 1e-4);
  }
}

TEST_CASE("pair scores: sides may fill the context, though both in one row would be longer", "[reward]") {
  const RewardModel model = formula_model();
  Ids chosen, rejected;
  for (int64_t i = 0; i < model.backbone.config.max_position_embeddings; ++i) {
    chosen.push_back(i < 5 ? i : (3 * i) % 11);
    rejected.push_back(i < 5 ? i : (7 * i + 1) % 11);
  }
  const std::vector<TokenPair> pairs = {sides(chosen, rejected)};
  CHECK_CLOSE(pair_scores(model, pairs), scores_apart(model, pairs), 1e-6);
}

TEST_CASE("pair scores: one answer does not see the other", "[reward]") {
  const RewardModel model = formula_model();
  const at::NoGradGuard no_grad;
  std::vector<TokenPair> changed = kLongPrompts;
  changed[0].chosen[9] = 7;  // before the rejected answer in the row
  const at::Tensor before = pair_scores(model, kLongPrompts), after = pair_scores(model, changed);
  CHECK(keel::test::largest_difference(after[0][0], before[0][0]) > 1e-3);
  CHECK_CLOSE(after[1], before[1], 1e-6);
  CHECK_CLOSE(after[0].slice(0, 1), before[0].slice(0, 1), 1e-6);
}

TEST_CASE("pair scores: many pairs without gradients have the scores of rows of their own", "[reward]") {
  const RewardModel model = formula_model();
  std::vector<TokenPair> pairs = kLongPrompts;
  pairs.insert(pairs.end(), kNothingShared.begin(), kNothingShared.end());
  const at::Tensor expected = scores_apart(model, pairs);
  const PairScores scores = score_pairs(model, pairs);
  for (size_t i = 0; i < pairs.size(); ++i) {
    CHECK(scores.chosen[i] == Catch::Approx(expected[0][static_cast<int64_t>(i)].item<double>()).margin(1e-6));
    CHECK(scores.rejected[i] == Catch::Approx(expected[1][static_cast<int64_t>(i)].item<double>()).margin(1e-6));
  }
  CHECK(score_pairs(model, {}).chosen.empty());
  CHECK_THROWS_AS(score_pairs(model, {sides({1}, {})}), c10::Error);
  CHECK_THROWS_AS(score_pairs(model, {sides({1}, {99})}), c10::Error);
}
