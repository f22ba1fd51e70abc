#include "ppo/losses.h"

#include <cmath>

#include "support/gradient.h"
#include "support/test.h"

using namespace keel::ppo;
using keel::test::bools;
using keel::test::tensor;

namespace {

at::Tensor doubles(std::initializer_list<std::initializer_list<double>> rows) {
  return tensor(rows).to(at::kDouble);
}

// The batch of tools/oracle/ppo_formulas.py; masked values are absurd.
struct LossCase {
  at::Tensor logprobs = doubles({{-1.0, -2.0, -0.5}, {-1.5, -0.7, -9.0}});
  at::Tensor old_logprobs = doubles({{-1.3, -1.9, -0.5}, {-1.0, -1.1, 9.0}});
  at::Tensor advantages = doubles({{1.0, -1.0, 0.5}, {2.0, -0.3, 7.0}});
  at::Tensor values = doubles({{0.5, 1.0, -0.2}, {0.1, 2.0, 5.0}});
  at::Tensor old_values = doubles({{0.4, 0.5, -0.2}, {0.6, 2.1, -5.0}});
  at::Tensor returns = doubles({{1.0, 0.9, 0.0}, {0.3, 1.0, 99.0}});
  at::Tensor mask = bools({{1, 1, 1}, {1, 1, 0}});
};

at::Tensor loss_of(double log_ratio, double advantage) {
  const at::Tensor old = at::zeros({1, 1}), mask = at::ones({1, 1}, at::kBool);
  return policy_loss(at::full({1, 1}, log_ratio), old, at::full({1, 1}, advantage), mask, 1, {}).loss;
}

}  // namespace

TEST_CASE("policy loss: NeMo RL's three tokens and torchtune's three ratios", "[ppo]") {
  CHECK_CLOSE(loss_of(std::log(.5), 1), at::scalar_tensor(-.5), 1e-6);
  CHECK_CLOSE(loss_of(0, -1), at::scalar_tensor(1.), 1e-6);
  CHECK_CLOSE(loss_of(std::log(1.5), 2), at::scalar_tensor(-2.4), 1e-6);
  const at::Tensor mask = at::ones({1, 3}, at::kBool);
  const at::Tensor ratios = tensor({.5, 1, 1.5}).unsqueeze(0);
  CHECK_CLOSE(policy_loss(ratios.log(), at::zeros({1, 3}), tensor({1, -1, 2}).unsqueeze(0), mask, 3, {}).loss, at::scalar_tensor(-.633333),
              1e-6);
  CHECK_CLOSE(loss_of(-1, 1), at::scalar_tensor(-.367879), 1e-6);
  CHECK_CLOSE(loss_of(.1, 1), at::scalar_tensor(-1.105171), 1e-6);
  CHECK_CLOSE(loss_of(1, 1), at::scalar_tensor(-1.2), 1e-6);
}

TEST_CASE("policy loss: loss, statistics and gradient agree with an independent program", "[ppo]") {
  const LossCase c;
  const at::Tensor logprobs = c.logprobs.clone().requires_grad_(true);
  const PolicyLoss out = policy_loss(logprobs, c.old_logprobs, c.advantages, c.mask, 5, {});
  CHECK_CLOSE(out.loss, at::scalar_tensor(-.3121352984), 1e-7);
  CHECK_CLOSE(out.approxkl, at::scalar_tensor(.051), 1e-7);
  CHECK_CLOSE(out.clipfrac, at::scalar_tensor(.2), 1e-7);
  CHECK_CLOSE(out.ratio, at::scalar_tensor(1.0706103166), 1e-6);
  CHECK_CLOSE(out.ratio_spread - (out.ratio - 1).square(), at::scalar_tensor(.1006475346), 1e-6);
  out.loss.backward();
  CHECK_CLOSE(logprobs.grad(), tensor({{0, .180967484, -.1}, {-.242612264, .089509482, 0}}), 1e-7);
}

TEST_CASE("policy loss: before any update the ratio is 1, nothing is clipped and the gradient is -A / n", "[ppo]") {
  const LossCase c;
  const at::Tensor logprobs = c.old_logprobs.clone().requires_grad_(true);
  const PolicyLoss out = policy_loss(logprobs, c.old_logprobs, c.advantages, c.mask, 5, {});
  CHECK(out.ratio.item<double>() == 1);
  CHECK(out.ratio_spread.item<double>() == 0);
  CHECK(out.approxkl.item<double>() == 0);
  CHECK(out.clipfrac.item<double>() == 0);
  out.loss.backward();
  CHECK_CLOSE(logprobs.grad(), at::where(c.mask, -c.advantages / 5, 0.), 1e-12);
}

TEST_CASE("value loss: loss, clip fraction and gradient agree with an independent program", "[ppo]") {
  const LossCase c;
  const at::Tensor values = c.values.clone().requires_grad_(true);
  const ValueLoss out = value_loss(values, c.old_values, c.returns, c.mask, 5, {});
  CHECK_CLOSE(out.loss, at::scalar_tensor(.137), 1e-7);
  CHECK_CLOSE(out.clipfrac, at::scalar_tensor(.2), 1e-7);
  out.loss.backward();
  CHECK_CLOSE(values.grad(), tensor({{-.1, 0, -.04}, {-.04, .2, 0}}), 1e-7);
}

TEST_CASE("clipped losses: gradients are those of finite differences", "[ppo]") {
  const LossCase c;
  const auto policy = [&](const at::Tensor& x) {
    return policy_loss(x, c.old_logprobs, c.advantages, c.mask, 7, {.policy_clip = .3}).loss;
  };
  const auto value = [&](const at::Tensor& x) { return value_loss(x, c.old_values, c.returns, c.mask, 7, {.value_clip = .1}).loss; };
  CHECK(keel::test::gradient_error(policy, c.logprobs) < 1e-8);
  CHECK(keel::test::gradient_error(value, c.values + .013) < 1e-8);
}

TEST_CASE("clipped losses: infinities and NaN under the mask change neither losses, statistics nor gradients", "[ppo]") {
  const LossCase c;
  for (double junk : {1e30, -static_cast<double>(INFINITY), static_cast<double>(NAN)}) {
    const auto spoilt = [&](const at::Tensor& x) { return at::where(c.mask, x, at::full_like(x, junk)); };
    const at::Tensor logprobs = spoilt(c.logprobs).requires_grad_(true), values = spoilt(c.values).requires_grad_(true);
    const PolicyLoss policy = policy_loss(logprobs, spoilt(c.old_logprobs), spoilt(c.advantages), c.mask, 5, {});
    const ValueLoss value = value_loss(values, spoilt(c.old_values), spoilt(c.returns), c.mask, 5, {});
    CHECK_CLOSE(policy.loss, at::scalar_tensor(-.3121352984), 1e-7);
    CHECK_CLOSE(policy.approxkl, at::scalar_tensor(.051), 1e-7);
    CHECK_CLOSE(value.loss, at::scalar_tensor(.137), 1e-7);
    (policy.loss + value.loss).backward();
    CHECK(logprobs.grad().isfinite().all().item<bool>());
    CHECK(values.grad().isfinite().all().item<bool>());
    CHECK(logprobs.grad()[1][2].item<double>() == 0);
    CHECK(values.grad()[1][2].item<double>() == 0);
  }
}

TEST_CASE("clipped losses (pitfall 5): micro-batches of unequal length add up to the batch", "[ppo]") {
  const LossCase c;
  const PolicyLoss whole = policy_loss(c.logprobs, c.old_logprobs, c.advantages, c.mask, 5, {});
  const ValueLoss whole_value = value_loss(c.values, c.old_values, c.returns, c.mask, 5, {});
  double loss = 0, value = 0, approxkl = 0, ratio = 0;
  for (int64_t row : {1, 0}) {
    const auto of = [&](const at::Tensor& x) { return x.slice(0, row, row + 1); };
    const PolicyLoss part = policy_loss(of(c.logprobs), of(c.old_logprobs), of(c.advantages), of(c.mask), 5, {});
    loss += part.loss.item<double>();
    approxkl += part.approxkl.item<double>();
    ratio += part.ratio.item<double>();
    value += value_loss(of(c.values), of(c.old_values), of(c.returns), of(c.mask), 5, {}).loss.item<double>();
  }
  CHECK(loss == Catch::Approx(whole.loss.item<double>()).epsilon(1e-12));
  CHECK(approxkl == Catch::Approx(whole.approxkl.item<double>()).epsilon(1e-12));
  CHECK(ratio == Catch::Approx(whole.ratio.item<double>()).epsilon(1e-12));
  CHECK(value == Catch::Approx(whole_value.loss.item<double>()).epsilon(1e-12));
}

TEST_CASE("clipped losses: an empty mask gives 0 and a zero gradient", "[ppo]") {
  const LossCase c;
  const at::Tensor none = at::zeros_like(c.mask);
  const at::Tensor logprobs = c.logprobs.clone().requires_grad_(true), values = c.values.clone().requires_grad_(true);
  const at::Tensor loss =
      policy_loss(logprobs, c.old_logprobs, c.advantages, none, 0, {}).loss + value_loss(values, c.old_values, c.returns, none, 0, {}).loss;
  loss.backward();
  CHECK(loss.item<double>() == 0);
  CHECK(logprobs.grad().abs().max().item<double>() == 0);
  CHECK(values.grad().abs().max().item<double>() == 0);
}

TEST_CASE("clipped losses: wrong shapes and a token count below the true tokens are refused", "[ppo]") {
  const LossCase c;
  CHECK_THROWS_AS(policy_loss(c.logprobs, c.old_logprobs, c.advantages, c.mask, 4, {}), c10::Error);
  CHECK_THROWS_AS(policy_loss(c.logprobs, c.old_logprobs[0], c.advantages, c.mask, 5, {}), c10::Error);
  CHECK_THROWS_AS(value_loss(c.values, c.old_values, c.returns, c.mask.to(at::kFloat), 5, {}), c10::Error);
}

TEST_CASE("masked sums: what the mask leaves out may be anything", "[ppo]") {
  CHECK_CLOSE(masked_sum(tensor({{1, 2}, {4, NAN}}), bools({{1, 0}, {1, 0}}), 2), at::scalar_tensor(2.5), 1e-7);
}
