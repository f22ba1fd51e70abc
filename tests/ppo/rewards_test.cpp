#include "ppo/rewards.h"

#include "ppo/gae.h"
#include "support/test.h"

using namespace keel::ppo;
using keel::test::bools;
using keel::test::tensor;

namespace {

at::Tensor indices(std::vector<int64_t> values) {
  return at::tensor(values, at::kLong);
}

}  // namespace

TEST_CASE("token rewards: torchtune's three rows, scores 1, 2, 3 and a KL coefficient of .5", "[ppo]") {
  const at::Tensor kl = tensor({{-.1, -.1, -.1}, {-.2, -.2, -.2}, {-.3, -.3, -.3}});
  const at::Tensor rewards = token_rewards(kl, tensor({1, 2, 3}), indices({2, 2, 2}), at::ones({3, 3}, at::kBool), .5);
  CHECK_CLOSE(rewards, tensor({{.05, .05, 1.05}, {.1, .1, 2.1}, {.15, .15, 3.15}}), 1e-6);
}

TEST_CASE("token rewards (pitfall 2): the score stands on the last emitted token with 0, 1 and 5 pads, and reaches all advantages",
          "[ppo]") {
  for (int64_t pads : {0, 1, 5}) {
    const at::Tensor mask = at::cat({at::ones({1, 3}, at::kBool), at::zeros({1, pads}, at::kBool)}, 1);
    const at::Tensor junk = at::where(mask, at::zeros({1, 3 + pads}), NAN);
    const at::Tensor rewards = token_rewards(junk, at::full({1}, 2.5), indices({2}), mask, .1);
    CHECK_CLOSE(rewards.slice(1, 0, 3), tensor({{0, 0, 2.5}, {0, 0, 2.5}}).slice(0, 0, 1), 0);
    CHECK_CLOSE(rewards.slice(1, 3), at::zeros({1, pads}), 0);
    const auto out = generalised_advantages(rewards, at::zeros_like(rewards), mask, {.gamma = 1, .lambda = 1});
    CHECK_CLOSE(out.advantages, at::where(mask, 2.5, 0.), 0);
  }
}

TEST_CASE("token rewards (pitfall 2): a score on a pad, before the end or in an empty row is refused", "[ppo]") {
  const at::Tensor kl = at::zeros({2, 3}), scores = tensor({1, 1}), mask = bools({{1, 1, 0}, {0, 1, 1}});
  CHECK_NOTHROW(token_rewards(kl, scores, indices({1, 2}), mask, .1));
  CHECK_THROWS_AS(token_rewards(kl, scores, indices({2, 2}), mask, .1), c10::Error);
  CHECK_THROWS_AS(token_rewards(kl, scores, indices({0, 2}), mask, .1), c10::Error);
  CHECK_THROWS_AS(token_rewards(kl, scores, indices({1, 2}), bools({{1, 1, 0}, {0, 0, 0}}), .1), c10::Error);
  CHECK_THROWS_AS(token_rewards(kl, tensor({1, 1, 1}), indices({1, 2}), mask, .1), c10::Error);
}

TEST_CASE("scores of answers without EOS: kept or lowered, finished ones never touched", "[ppo]") {
  const at::Tensor scores = tensor({.5, .7}), finished = bools({{1, 0}, {1, 0}})[0];
  CHECK_CLOSE(scores_with_eos_rule(scores, finished, {}), scores, 0);
  CHECK_CLOSE(scores_with_eos_rule(scores, finished, {.missing_eos_penalty = 2}), tensor({.5, -1.3}), 1e-6);
}
