#include "ppo/rollout.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "policy/generate.h"
#include "ppo/losses.h"
#include "support/tiny_model.h"

using namespace keel::ppo;
using keel::core::FinishReason;
using keel::core::Ids;
using keel::core::Sample;
using keel::test::bools;

namespace {

const std::vector<Ids> kPrompts = {{1, 2, 3}, {4}, {5, 6}};

std::vector<Sample> handmade_samples() {
  return {{.prompt = 1, .sample = 0, .ids = {7, 8}, .logprobs = {-1, -2}, .finish = FinishReason::stop},
          {.prompt = 0, .sample = 0, .ids = {9, 9, 9, 10}, .logprobs = {-.1F, -.2F, -.3F, -.4F}, .finish = FinishReason::length},
          {.prompt = 2, .sample = 0, .ids = {2}, .logprobs = {-3}, .finish = FinishReason::stop}};
}

}  // namespace

TEST_CASE("rollout (pitfall 9): ids as they were generated, masks, last columns and finish flags of answers of unequal length", "[ppo]") {
  const Rollout rollout = make_rollout(kPrompts, handmade_samples());
  CHECK(rollout.rows == std::vector<Ids>{{4, 7, 8}, {1, 2, 3, 9, 9, 9, 10}, {5, 6, 2}});
  CHECK(rollout.prompt_lengths == std::vector<int64_t>{1, 3, 2});
  CHECK(rollout.response_mask.equal(bools({{1, 1, 0, 0}, {1, 1, 1, 1}, {1, 0, 0, 0}})));
  CHECK(rollout.last_action_index.equal(at::tensor(std::vector<int64_t>{1, 3, 0})));
  CHECK(rollout.finished.equal(bools({{1, 0, 1}, {1, 0, 1}})[0]));
  CHECK_CLOSE(rollout.engine_logprobs, keel::test::tensor({{-1, -2, 0, 0}, {-.1, -.2, -.3, -.4}, {-3, 0, 0, 0}}), 1e-7);
}

TEST_CASE("rollout (pitfall 2): an answer batch targets exactly the emitted ids, each from the position before it", "[ppo]") {
  const Rollout rollout = make_rollout(kPrompts, handmade_samples());
  const AnswerBatch batch = answer_batch(rollout, {2, 1});
  CHECK(batch.inputs.tokens.ids.equal(at::tensor(std::vector<int64_t>{5, 6, 2, 0, 0, 0, 0, 1, 2, 3, 9, 9, 9, 10}).view({2, 7})));
  CHECK(batch.inputs.loss_mask.equal(bools({{0, 1, 0, 0, 0, 0, 0}, {0, 0, 1, 1, 1, 1, 0}})));
  CHECK(batch.inputs.targets.masked_select(batch.inputs.loss_mask).equal(at::tensor(std::vector<int64_t>{2, 9, 9, 9, 10})));
  CHECK(batch.mask.equal(bools({{1, 0, 0, 0}, {1, 1, 1, 1}})));
}

TEST_CASE("rollout: micro-batches are neighbours, bounded by answers and by padded tokens with their prompts", "[ppo]") {
  const Rollout rollout = make_rollout(kPrompts, handmade_samples());  // rows of 3, 7 and 3 ids
  using Batches = std::vector<std::vector<int64_t>>;
  CHECK(micro_batches(rollout, {2, 0, 1}, 16, 100) == Batches{{2, 0, 1}});
  CHECK(micro_batches(rollout, {2, 0, 1}, 2, 100) == Batches{{2, 0}, {1}});
  CHECK(micro_batches(rollout, {2, 0, 1}, 16, 20) == Batches{{2, 0}, {1}});
  CHECK(micro_batches(rollout, {2, 1, 0}, 16, 13) == Batches{{2}, {1}, {0}});
  CHECK(micro_batches(rollout, {2, 1, 0}, 16, 14) == Batches{{2, 1}, {0}});
  CHECK(micro_batches(rollout, {1}, 16, 1) == Batches{{1}});
}

TEST_CASE("rollout: an answer without ids, or with fewer log-probs than ids, is refused", "[ppo]") {
  CHECK_THROWS_AS(make_rollout(kPrompts, {{.prompt = 0, .sample = 0, .ids = {}, .logprobs = {}}}), c10::Error);
  CHECK_THROWS_AS(make_rollout(kPrompts, {{.prompt = 0, .sample = 0, .ids = {1, 2}, .logprobs = {-1}}}), c10::Error);
}

TEST_CASE("rollout (pitfall 1): the trainer's log-probs are the generator's at temperatures .7, 1 and 1.3", "[ppo]") {
  const keel::policy::Llama policy = keel::test::tiny_llama();
  const at::NoGradGuard no_grad;
  for (double temperature : {.7, 1., 1.3}) {
    const auto samples = keel::policy::generate(
        policy, {.prompts = kPrompts, .sampling = {.temperature = temperature, .max_new_tokens = 9}, .stop_ids = {10}, .seed = 3});
    const Rollout rollout = make_rollout(kPrompts, samples);
    const AnswerLogprobs own = answer_logprobs(policy, answer_batch(rollout, {0, 1, 2}), temperature, true);
    CHECK_CLOSE(own.logprobs, rollout.engine_logprobs, 1e-5);
    CHECK(own.entropy.masked_select(rollout.response_mask).min().item<double>() > 0);
    CHECK(own.entropy.max().item<double>() < std::log(11.));
    if (temperature != 1)
      CHECK(keel::test::largest_difference(answer_logprobs(policy, answer_batch(rollout, {0, 1, 2}), 1).logprobs, own.logprobs) > 1e-3);
  }
}

TEST_CASE("rollout (pitfall 6): values are the critic's before each emitted id, whatever the rows beside it", "[ppo]") {
  const keel::reward::RewardModel critic = keel::reward::make_reward_model(keel::test::tiny_llama(), keel::reward::HeadStart::normal, 4);
  const at::NoGradGuard no_grad;
  const Rollout rollout = make_rollout(kPrompts, handmade_samples());
  const at::Tensor values = answer_values(critic, answer_batch(rollout, {0, 1, 2}));
  // V(s_0) of row 1 has read the prompt alone, V(s_3) all ids but the last.
  CHECK_CLOSE(values[1][0], at::scalar_tensor(keel::reward::score_rows(critic, {{1, 2, 3}})[0]), 1e-6);
  CHECK_CLOSE(values[1][3], at::scalar_tensor(keel::reward::score_rows(critic, {{1, 2, 3, 9, 9, 9}})[0]), 1e-6);
  CHECK(values[0][2].item<double>() == 0);
  CHECK_CLOSE(answer_values(critic, answer_batch(rollout, {2}))[0], values[2], 1e-6);
}
