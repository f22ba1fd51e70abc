#include "ppo/kl.h"

#include <cmath>

#include "core/rng.h"
#include "support/test.h"

using namespace keel::ppo;
using keel::test::tensor;

namespace {

at::Tensor estimate(const std::string& estimator, double log_ratio_clamp = 0, double clamp = 0) {
  KlConfig config{.estimator = estimator};
  config.log_ratio_clamp = log_ratio_clamp;
  config.clamp = clamp;
  return kl_per_token(tensor({-1, -1, -1}), tensor({0, -15, -30}), config);
}

}  // namespace

TEST_CASE("kl: the three estimators of NeMo RL's vectors, free and clamped", "[ppo]") {
  CHECK_CLOSE(estimate("k1"), tensor({-1, 14, 29}), 1e-6);
  CHECK_CLOSE(estimate("k2"), tensor({.5, 98, 420.5}), 1e-5);
  CHECK_CLOSE(estimate("k3"), tensor({.718282, 13.000001, 28}), 2e-6);
  CHECK_CLOSE(estimate("k1", 20, 10), tensor({-1, 10, 10}), 1e-6);
  CHECK_CLOSE(estimate("k2", 20, 10), tensor({.5, 10, 10}), 1e-6);
  CHECK_CLOSE(estimate("k3", 20, 10), tensor({.718282, 10, 10}), 1e-6);
}

TEST_CASE("kl: equal policies have exactly 0", "[ppo]") {
  const at::Tensor logprobs = tensor({{-.1, -7.3}, {-2.2, 0}});
  for (const char* estimator : {"k1", "k2", "k3"}) {
    CHECK(kl_per_token(logprobs, logprobs, {.estimator = estimator}).abs().max().item<double>() == 0);
  }
  CHECK_THROWS_AS(kl_per_token(logprobs, tensor({1, 2}), {}), c10::Error);
}

TEST_CASE("kl: means of sampled k1 and k3 lie within four standard errors of the exact KL, k2's does not pretend to", "[ppo]") {
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
  for (const char* estimator : {"k1", "k3"}) {
    const at::Tensor kl = kl_per_token(p.log().index_select(0, sampled), q.log().index_select(0, sampled), {.estimator = estimator});
    const double standard_error = kl.std().item<double>() / std::sqrt(20000.);
    INFO(estimator << " mean " << kl.mean().item<double>() << ", exact " << exact << ", standard error " << standard_error);
    CHECK(std::abs(kl.mean().item<double>() - exact) < 4 * standard_error);
  }
}

TEST_CASE("kl: the adaptive coefficient moves by 1 + clip(kl / target - 1, +-.2) * n / horizon", "[ppo]") {
  // Formula of LHPD and verl: beta .15, 64 answers, horizon 10000, target 6.
  KlConfig config{.controller = "adaptive", .target = 6, .horizon = 10000};
  CHECK(next_kl_coefficient(.15, 3, 64, config) == Catch::Approx(.149808).epsilon(1e-7));
  CHECK(next_kl_coefficient(.15, 6, 64, config) == .15);
  CHECK(next_kl_coefficient(.15, 6.9, 64, config) == Catch::Approx(.150144).epsilon(1e-7));
  CHECK(next_kl_coefficient(.15, 12, 64, config) == Catch::Approx(.150192).epsilon(1e-7));
  config.controller = "fixed";
  CHECK(next_kl_coefficient(.15, 12, 64, config) == .15);
}
