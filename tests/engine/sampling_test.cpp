#include "engine/sampling.h"

#include <cmath>
#include <limits>

#include "core/rng.h"
#include "support/test_plain.h"

using keel::engine::Choice;
using keel::engine::Cut;
using keel::engine::Sampler;

namespace {

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double probability : probabilities)
    logits.push_back(static_cast<float>(std::log(probability)) + 3);  // a constant changes nothing
  return logits;
}

int64_t choose(const std::vector<double>& probabilities, const Cut& cut, double draw) {
  return Sampler(static_cast<int64_t>(probabilities.size())).choose(logits_of(probabilities).data(), cut, draw).id;
}

}  // namespace

TEST_CASE("sampling: the first token whose cumulative mass exceeds the draw", "[engine]") {
  const std::vector<double> p = {.1, .2, .3, .4};
  CHECK(choose(p, {}, 0) == 0);
  CHECK(choose(p, {}, .09) == 0);
  CHECK(choose(p, {}, .11) == 1);
  CHECK(choose(p, {}, .59) == 2);
  CHECK(choose(p, {}, .61) == 3);
  CHECK(choose(p, {}, std::nextafter(1.0, 0.0)) == 3);
}

TEST_CASE("sampling: top-k and top-p keep the likeliest, in the order of their probability", "[engine]") {
  const std::vector<double> p = {.1, .2, .3, .4};
  CHECK(choose(p, {.top_k = 1}, .99) == 3);
  CHECK(choose(p, {.top_k = 2}, .5) == 3);  // 0.4 / 0.7 = 0.571
  CHECK(choose(p, {.top_k = 2}, .6) == 2);
  CHECK(choose(p, {.top_k = 9}, .99) == 0);
  CHECK(choose(p, {.top_p = 0}, .99) == 3);  // the first is always kept: no mass is before it
  CHECK(choose(p, {.top_p = .39}, .99) == 3);
  CHECK(choose(p, {.top_p = .41}, .99) == 2);  // 0.4 before it
  CHECK(choose(p, {.top_p = .41}, .56) == 3);  // 0.4 / 0.7
  CHECK(choose(p, {.top_p = .75}, .79) == 1);  // kept 0.4, 0.3, 0.2: 0.444, 0.778 of 0.9
  CHECK(choose(p, {.top_p = .75}, .77) == 2);
  CHECK(choose(p, {.top_p = .5, .top_k = 3}, .99) == 2);        // of 0.9: 0.444 is before the second, 0.778 before the third
  CHECK(choose({.25, .25, .25, .25}, {.top_k = 2}, .99) == 1);  // equals: the earlier ones
}

TEST_CASE("sampling: the log-prob is that of the temperature, before the cut; temperature 0 takes the likeliest", "[engine]") {
  const std::vector<double> p = {.1, .2, .3, .4};
  const auto logits = logits_of(p);
  Sampler sampler(4);
  CHECK_THAT(sampler.choose(logits.data(), {.top_k = 1}, .5).logprob, Catch::Matchers::WithinAbs(std::log(.4), 1e-6));
  const Choice greedy = sampler.choose(logits.data(), {.temperature = 0}, 0);
  CHECK(greedy.id == 3);
  CHECK_THAT(greedy.logprob, Catch::Matchers::WithinAbs(std::log(.4), 1e-6));
  // p^2 / sum p^2: 0.01, 0.04, 0.09, 0.16 of 0.30
  const Choice cold = sampler.choose(logits.data(), {.temperature = .5}, .4);
  CHECK(cold.id == 2);
  CHECK_THAT(cold.logprob, Catch::Matchers::WithinAbs(std::log(.3), 1e-6));
}

TEST_CASE("sampling: a large vocabulary, token by token, with mass in single blocks and none elsewhere", "[engine]") {
  constexpr int64_t kTokens = 5000;
  std::vector<float> logits(kTokens, -1e30f);
  for (const int64_t id : {0, 1500, 1501, 4999})
    logits[static_cast<size_t>(id)] = 2;
  Sampler sampler(kTokens);
  CHECK(sampler.choose(logits.data(), {}, 0).id == 0);
  CHECK(sampler.choose(logits.data(), {}, .26).id == 1500);
  CHECK(sampler.choose(logits.data(), {}, .51).id == 1501);
  CHECK(sampler.choose(logits.data(), {}, .76).id == 4999);
  CHECK(sampler.choose(logits.data(), {.top_k = 3}, .99).id == 1501);
  CHECK(sampler.choose(logits.data(), {.top_k = 4000}, .99).id == 4999);  // more than have any mass
}

TEST_CASE("sampling: logits that are no numbers give a token of the vocabulary and no log-prob, with every cut", "[engine]") {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
  Sampler sampler(4);
  for (const std::vector<float>& logits :
       {std::vector{kNaN, kNaN, kNaN, kNaN}, {0.f, kNaN, 1.f, 2.f}, {0.f, kInf, 1.f, 2.f}, {-kInf, -kInf, -kInf, -kInf}})
    for (const Cut& cut : {Cut{}, {.top_p = .5}, {.top_k = 2}, {.temperature = 0}, {.top_p = .5, .top_k = 2}}) {
      const Choice choice = sampler.choose(logits.data(), cut, .5);
      CHECK(choice.id == 3);
      CHECK(std::isnan(choice.logprob));
    }
}
