#include "ppo/statistics.h"

#include <cmath>

#include "ppo/small_run.h"
#include "support/test.h"

using namespace keel::ppo;
using keel::reward::AnswerReward;
using keel::test::metric;

TEST_CASE("statistics: scores by the source of the prompt, of sources that were asked", "[ppo]") {
  std::vector<keel::core::Sample> samples(4);
  for (size_t i = 0; i < 4; ++i)
    samples[i].prompt = std::vector<int64_t>{2, 0, 2, 3}[i];
  const std::vector<AnswerReward> rewards = {{.probability = .2}, {.probability = .9}, {.probability = .6}, {.probability = .5}};
  const auto row = source_metrics("x/", samples, rewards, {"spell", "rhyme", "count", ""});
  REQUIRE(row.size() == 2);
  CHECK(metric(row, "x/spell") == Catch::Approx(.9));
  CHECK(metric(row, "x/count") == Catch::Approx(.4));
  CHECK(source_metrics("x/", samples, rewards, {}).empty());
}

TEST_CASE("statistics: shares of the gate and of the safety model, scores by kind of prompt", "[ppo]") {
  // Three answers to prompts not about safety, one of them caught by the gate; two about safety.
  const std::vector<AnswerReward> rewards = {
      {.probability = .6, .safety_prompt = false, .safety_decides = false, .helpfulness = .6, .safety = .9},
      {.probability = .1, .safety_prompt = false, .safety_decides = true, .helpfulness = .8, .safety = .1},
      {.probability = .8, .safety_prompt = false, .safety_decides = false, .helpfulness = .8, .safety = .7},
      {.probability = .9, .safety_prompt = true, .safety_decides = true, .helpfulness = .2, .safety = .9},
      {.probability = .4, .safety_prompt = true, .safety_decides = true, .helpfulness = .3, .safety = .4}};
  const auto row = reward_metrics("x/", rewards);
  CHECK(metric(row, "x/scores") == Catch::Approx(.56));
  CHECK(metric(row, "x/scores_helpful") == Catch::Approx(.5));
  CHECK(metric(row, "x/scores_safety") == Catch::Approx(.65));
  CHECK(metric(row, "x/gate_share") == Catch::Approx(1. / 3));
  CHECK(metric(row, "x/safety_share") == Catch::Approx(.6));
  CHECK(metric(row, "x/helpfulness") == Catch::Approx(.54));
  CHECK(metric(row, "x/safety") == Catch::Approx(.6));
}

TEST_CASE("statistics: one reward model alone has no safety probability and no safety prompts", "[ppo]") {
  const auto row = reward_metrics("", {{.probability = .3, .helpfulness = .3}});
  CHECK(metric(row, "gate_share") == 0);
  CHECK(std::isnan(metric(row, "scores_safety")));
  CHECK(metric(row, "helpfulness") == .3);
  for (const auto& [name, value] : row)
    CHECK(name != "safety");
}

TEST_CASE("statistics: lengths and the share of answers that were cut", "[ppo]") {
  const Rollout rollout =
      make_rollout({{1}}, {{.prompt = 0, .sample = 0, .ids = {2, 3, 4}, .logprobs = {-1, -1, -1}},
                           {.prompt = 0, .sample = 1, .ids = {5}, .logprobs = {-1}, .finish = keel::core::FinishReason::stop}});
  const auto row = row_of(answer_lengths(rollout));
  CHECK(metric(row, "response_length/mean") == 2);
  CHECK(metric(row, "response_length/min") == 1);
  CHECK(metric(row, "response_length/max") == 3);
  CHECK(metric(row, "rollout/truncated_rate") == .5);
  CHECK(metric(row, "val/num_eos_tokens") == 1);
}

TEST_CASE("statistics: what whitening removes, of all answers and by deciding model", "[ppo]") {
  // logit(.2) = -1.386294, logit(.8) = 1.386294, logit(.9) = 2.197225
  const at::Tensor rc = keel::test::tensor({.2, .8, .9}).to(at::kDouble), safety = keel::test::bools({{0, 0, 1}, {0, 0, 0}});
  const auto all = whitening_metrics(rc, safety[0], {});
  CHECK(metric(all, "whiten/mean") == Catch::Approx(.732408).epsilon(1e-5));
  CHECK(metric(all, "whiten/std") == Catch::Approx(1.534292).epsilon(1e-5));
  const auto apart = whitening_metrics(rc, safety[0], {.whiten_scope = WhitenScope::deciding_model});
  CHECK(metric(apart, "whiten/mean_helpfulness") == Catch::Approx(0).margin(1e-7));
  CHECK(metric(apart, "whiten/std_helpfulness") == Catch::Approx(1.386294).epsilon(1e-5));
  CHECK(metric(apart, "whiten/mean_safety") == Catch::Approx(2.197225).epsilon(1e-5));
  CHECK(metric(apart, "whiten/std_safety") == 0);
  CHECK(std::isnan(metric(whitening_metrics(rc, safety[1], {.whiten_scope = WhitenScope::deciding_model}), "whiten/mean_safety")));
}

TEST_CASE("statistics: the critic explains all, none and less than none of the returns' variance", "[ppo]") {
  const at::Tensor mask = keel::test::bools({{1, 1, 1, 0}, {0, 0, 0, 0}}), returns = keel::test::tensor({{1, 2, 3, 99}, {0, 0, 0, 0}});
  CHECK(explained_variance(returns + 5, returns, mask) == Catch::Approx(1));
  CHECK(explained_variance(at::zeros_like(returns), returns, mask) == Catch::Approx(0).margin(1e-9));
  CHECK(explained_variance(-returns, returns, mask) == Catch::Approx(-3));
}
