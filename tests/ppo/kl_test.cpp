#include "ppo/kl.h"

#include <cmath>

#include "core/rng.h"
#include "support/test.h"

using namespace keel::ppo;
using keel::test::tensor;

namespace {

at::Tensor estimate(KlEstimator estimator) {
  return kl_per_token(tensor({-1, -1, -1}), tensor({0, -15, -30}), {.estimator = estimator});
}

}  // namespace

TEST_CASE("kl (pitfall 7): the three estimators of NeMo RL's vectors, never clamped", "[ppo]") {
  CHECK_CLOSE(estimate(KlEstimator::k1), tensor({-1, 14, 29}), 1e-6);
  CHECK_CLOSE(estimate(KlEstimator::k2), tensor({.5, 98, 420.5}), 1e-5);
  CHECK_CLOSE(estimate(KlEstimator::k3), tensor({.718282, 13.000001, 28}), 2e-6);
}

TEST_CASE("kl (pitfall 7): equal policies have exactly 0", "[ppo]") {
  const at::Tensor logprobs = tensor({{-.1, -7.3}, {-2.2, 0}});
  for (const KlEstimator estimator : {KlEstimator::k1, KlEstimator::k2, KlEstimator::k3}) {
    CHECK(kl_per_token(logprobs, logprobs, {.estimator = estimator}).abs().max().item<double>() == 0);
  }
  CHECK_THROWS_AS(kl_per_token(logprobs, tensor({1, 2}), {}), c10::Error);
}

TEST_CASE("kl (pitfall 7): means of sampled k1 and k3 lie within four standard errors of the exact KL, k2's does not pretend to", "[ppo]") {
  const at::Tensor p = at::softmax(tensor({.3, -1.2, .8, 0, 1.5, -.4, .1, -2}).to(at::kDouble), 0);
  const at::Tensor q = at::softmax(tensor({-.5, .4, 1.1, -1, .2, .9, -.3, .6}).to(at::kDouble), 0);
  const double exact = (p * (p.log() - q.log())).sum().item<double>();
  REQUIRE(exact > .1);

  keel::core::Stream stream(11, "kl test");
  const at::Tensor edges = p.cumsum(0);
  std::vector<int64_t> words;
  for (int i = 0; i < 20000; ++i) {
    const double u = stream.uniform();
    int64_t word = 0;
    while (word < 7 && edges[word].item<double>() <= u)
      ++word;
    words.push_back(word);
  }
  const at::Tensor sampled = at::tensor(words, at::kLong);
  for (const KlEstimator estimator : {KlEstimator::k1, KlEstimator::k3}) {
    const at::Tensor kl = kl_per_token(p.log().index_select(0, sampled), q.log().index_select(0, sampled), {.estimator = estimator});
    const double standard_error = kl.std().item<double>() / std::sqrt(20000.);
    INFO(keel::core::name_of(estimator) << " mean " << kl.mean().item<double>() << ", exact " << exact << ", standard error "
                                        << standard_error);
    CHECK(std::abs(kl.mean().item<double>() - exact) < 4 * standard_error);
  }
}

TEST_CASE("kl (pitfall 7): the adaptive coefficient moves by 1 + clip(kl / target - 1, +-.2) * n / horizon", "[ppo]") {
  // Formula of LHPD and verl: beta .15, 64 answers, horizon 10000, target 6.
  KlConfig config{.controller = KlController::adaptive, .target = 6, .horizon = 10000};
  CHECK(next_kl_coefficient(.15, 3, 64, config) == Catch::Approx(.149808).epsilon(1e-7));
  CHECK(next_kl_coefficient(.15, 6, 64, config) == .15);
  CHECK(next_kl_coefficient(.15, 6.9, 64, config) == Catch::Approx(.150144).epsilon(1e-7));
  CHECK(next_kl_coefficient(.15, 12, 64, config) == Catch::Approx(.150192).epsilon(1e-7));
  config.controller = KlController::fixed;
  CHECK(next_kl_coefficient(.15, 12, 64, config) == .15);
}

TEST_CASE("kl loss: beta times the mean of the estimates over the step's tokens, with the gradient of each", "[ppo]") {
  // k1 = .5, -1, 0 and absurd values under the mask. k2: (.125 + .5 + 0) / 3, gradient k1 / 3; k3: (exp(-k1) - 1 + k1), gradient 1 -
  // exp(-k1).
  const at::Tensor mask = keel::test::bools({{1, 1}, {1, 0}});
  const auto run = [&](KlEstimator estimator, int64_t tokens) {
    const at::Tensor logprobs = tensor({{-1, -2}, {-.5, NAN}}).requires_grad_(true);
    const at::Tensor loss = kl_loss(logprobs, tensor({{-1.5, -1}, {-.5, INFINITY}}), mask, tokens, .3, {.estimator = estimator});
    loss.backward();
    return std::pair(loss.detach(), logprobs.grad());
  };
  const auto [k2, k2_gradient] = run(KlEstimator::k2, 3);
  CHECK_CLOSE(k2, at::scalar_tensor(.0625), 1e-7);
  CHECK_CLOSE(k2_gradient, tensor({{.05, -.1}, {0, 0}}), 1e-7);
  const auto [k3, k3_gradient] = run(KlEstimator::k3, 3);
  CHECK_CLOSE(k3, at::scalar_tensor(.0824812488), 1e-7);
  CHECK_CLOSE(k3_gradient, tensor({{.0393469340, -.1718281828}, {0, 0}}), 1e-7);
  CHECK_CLOSE(run(KlEstimator::k2, 6).first, at::scalar_tensor(.03125), 1e-7);  // normalised by the step's tokens
}

TEST_CASE("kl loss: over all words the gradient of k2 is that of KL(policy || reference), that of k1 is 0", "[ppo]") {
  const at::Tensor logits = tensor({.3, -1.2, .8, 0}).to(at::kDouble).requires_grad_(true);
  const at::Tensor q = at::softmax(tensor({-.5, .4, 1.1, -1}).to(at::kDouble), 0);
  const auto gradient_of = [&](const at::Tensor& loss) {
    logits.mutable_grad() = at::Tensor();
    loss.backward();
    return logits.grad().clone();
  };
  const auto log_p = [&] { return at::log_softmax(logits, 0); };
  const at::Tensor exact = gradient_of((log_p().exp() * (log_p() - q.log())).sum());
  // The mean over answers weighs each word's estimate by its probability, which is no part of the loss.
  const auto sampled = [&](KlEstimator estimator) {
    return gradient_of((log_p().exp().detach() * kl_per_token(log_p(), q.log(), {.estimator = estimator})).sum());
  };
  CHECK_CLOSE(sampled(KlEstimator::k2), exact, 1e-12);
  CHECK_CLOSE(sampled(KlEstimator::k1), at::zeros_like(exact), 1e-12);
  CHECK_CLOSE(sampled(KlEstimator::k3), gradient_of((q * (q.log() - log_p())).sum()), 1e-12);
}
