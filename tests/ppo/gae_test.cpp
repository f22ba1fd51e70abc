#include "ppo/gae.h"

#include "support/test.h"

using keel::ppo::generalised_advantages;
using keel::test::bools;
using keel::test::tensor;

TEST_CASE("gae: two rows of different length, gamma .9, lambda .95", "[ppo]") {
  // verl, trlx, DeepSpeed-Chat, safe-rlhf and torchtune agree on these; 99 where the mask is false.
  const at::Tensor rewards = tensor({{0, -.1, 0, 1}, {-.05, .8, 99, 99}});
  const at::Tensor values = tensor({{.5, .4, .3, .2}, {.1, .6, 99, 99}});
  const at::Tensor mask = bools({{1, 1, 1, 1}, {1, 1, 0, 0}});
  const auto out = generalised_advantages(rewards, values, mask, {.gamma = .9, .lambda = .95});
  CHECK_CLOSE(out.advantages, tensor({{.0756481, .25222, .564, .8}, {.561, .2, 0, 0}}), 1e-6);
  CHECK_CLOSE(out.returns, tensor({{.5756481, .65222, .864, 1.}, {.661, .8, 0, 0}}), 1e-6);
}

TEST_CASE("gae: published rows of NeMo-Aligner, NeMo RL and torchtune", "[ppo]") {
  const auto row = [](std::initializer_list<double> rewards, std::initializer_list<double> values, double gamma, double lambda) {
    const at::Tensor r = tensor(rewards).unsqueeze(0);
    return generalised_advantages(r, tensor(values).unsqueeze(0), at::ones_like(r, at::kBool), {.gamma = gamma, .lambda = lambda});
  };
  const auto aligner = row({0, 0, 1, 0}, {0, 1, 2, 3}, .5, 0);
  CHECK_CLOSE(aligner.advantages[0], tensor({.5, 0, .5, -3}), 1e-6);
  CHECK_CLOSE(aligner.returns[0], tensor({.5, 1, 2.5, 0}), 1e-6);
  CHECK_CLOSE(row({0, 0, 5}, {1, 2, 3}, 1, 0).advantages[0], tensor({1, 1, 2}), 1e-6);
  CHECK_CLOSE(row({0, 0, 5}, {1, 2, 3}, 1, 1).advantages[0], tensor({4, 3, 2}), 1e-6);
  CHECK_CLOSE(row({0, 0, 5}, {1, 2, 3}, 1, .95).advantages[0], tensor({3.755, 2.9, 2}), 1e-6);
  const auto torchtune = row({0, 0, 0, 1}, {0, 0, 0, 1}, .9, .95);
  CHECK_CLOSE(torchtune.advantages[0], tensor({.6579225, .7695, .9, 0}), 1e-6);
  CHECK_CLOSE(torchtune.returns[0], tensor({.6579225, .7695, .9, 1}), 1e-6);
}

TEST_CASE("gae: false tokens inside a row are stepped over, whatever stands there", "[ppo]") {
  const at::Tensor gap_free = bools({{1, 1, 1, 1}}), with_gap = bools({{1, 1, 0, 1, 1}});
  const auto expected = generalised_advantages(tensor({{0, .2, 0, 1}, {0, 0, 0, 0}}).slice(0, 0, 1),
                                               tensor({{.5, .4, .3, .2}, {0, 0, 0, 0}}).slice(0, 0, 1), gap_free, {.gamma = .9});
  for (double junk : {999., static_cast<double>(NAN)}) {
    const at::Tensor rewards = at::tensor({0., .2, junk, 0., 1.}).unsqueeze(0), values = at::tensor({.5, .4, junk, .3, .2}).unsqueeze(0);
    const auto out = generalised_advantages(rewards, values, with_gap, {.gamma = .9});
    const at::Tensor kept = at::tensor(std::vector<int64_t>{0, 1, 3, 4}, at::kLong);
    CHECK_CLOSE(out.advantages.index_select(1, kept), expected.advantages, 1e-7);
    CHECK_CLOSE(out.returns.index_select(1, kept), expected.returns, 1e-7);
    CHECK(out.advantages[0][2].item<double>() == 0);
    CHECK(out.returns[0][2].item<double>() == 0);
  }
}

TEST_CASE("gae (pitfall 2): a reward at the end reaches every token when gamma = lambda = 1 and V = 0, whatever the padding", "[ppo]") {
  for (int64_t pads : {0, 1, 5}) {
    const at::Tensor rewards = at::zeros({1, 4 + pads}), mask = at::zeros({1, 4 + pads}, at::kBool);
    rewards[0][3] = 2.5;
    mask.slice(1, 0, 4).fill_(true);
    const auto out = generalised_advantages(rewards, at::zeros_like(rewards), mask, {.gamma = 1, .lambda = 1});
    CHECK_CLOSE(out.advantages, at::where(mask, 2.5, 0.), 0);
  }
}

TEST_CASE("gae: an empty mask gives zeros and a wrong shape is refused", "[ppo]") {
  const auto out = generalised_advantages(at::ones({2, 3}), at::ones({2, 3}), at::zeros({2, 3}, at::kBool), {});
  CHECK(out.advantages.abs().max().item<double>() == 0);
  CHECK(out.returns.abs().max().item<double>() == 0);
  CHECK_THROWS_AS(generalised_advantages(at::ones({2, 3}), at::ones({2, 2}), at::ones({2, 3}, at::kBool), {}), c10::Error);
}
