#include "reward/function.h"

#include <cmath>

#include "support/tiny_model.h"

using namespace keel::reward;
using keel::core::Ids;
using keel::core::Sample;

TEST_CASE("reward function: the gated reward scores prompt and answer by both models", "[reward]") {
  const keel::policy::Llama base = keel::test::tiny_llama();
  const auto helpfulness = make_reward_model(base, HeadStart::normal, 1), safety = make_reward_model(base, HeadStart::normal, 2);
  const std::vector<Ids> prompts = {{1, 2}, {3}};
  const RewardFunction reward = gated_reward(scorer_of(helpfulness), scorer_of(safety), prompts, {false, true}, {});
  std::vector<Sample> samples(2);
  samples[0].prompt = 1;
  samples[0].ids = {4, 10};
  samples[1].prompt = 0;
  samples[1].ids = {5};
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const auto combined = reward(samples);
  REQUIRE(combined.size() == 2);
  CHECK(combined[0].probability == Catch::Approx(sigmoid(score_rows(safety, {{3, 4, 10}})[0])).epsilon(1e-6));
  CHECK(combined[1].probability == Catch::Approx(sigmoid(score_rows(helpfulness, {{1, 2, 5}})[0])).epsilon(1e-6));
  CHECK((combined[0].safety_prompt && combined[0].safety_decides));
  CHECK_FALSE((combined[1].safety_prompt || combined[1].safety_decides));
  CHECK(combined[0].helpfulness == Catch::Approx(sigmoid(score_rows(helpfulness, {{3, 4, 10}})[0])).epsilon(1e-6));
  CHECK(combined[1].safety == Catch::Approx(sigmoid(score_rows(safety, {{1, 2, 5}})[0])).epsilon(1e-6));
  const auto gated = gated_reward(scorer_of(helpfulness), scorer_of(safety), prompts, {false, true}, {.gate_threshold = 1})(samples);
  CHECK((!gated[1].safety_prompt && gated[1].safety_decides && gated[1].probability == gated[1].safety));
  const auto plain = plain_reward(scorer_of(helpfulness), prompts)(samples);
  CHECK((plain[0].probability == combined[0].helpfulness && !plain[0].safety_decides && std::isnan(plain[0].safety)));
  CHECK_THROWS_AS(gated_reward(scorer_of(helpfulness), scorer_of(safety), prompts, {true}, {}), c10::Error);
}
