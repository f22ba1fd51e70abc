// What makes PPO silently wrong, as far as other tests do not catch it. Tests all over the tree name the pitfall that they watch:
//  1 old log-probs that are not the sampling distribution's    6 scores that depend on padding or batch mates
//  2 rewards, values and log-probs a position apart            7 the KL's sign, estimator, clamp and unit
//  3 an EOS that masks take for padding                        8 reference or reward models that move, or alias the policy
//  4 statistics over padding                                   9 ids that change between generation, scoring and training
//  5 means by micro-batch instead of batch                    10 a reward model saved without its head, or loaded as another
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "core/rng.h"
#include "policy/logprobs.h"
#include "ppo/small_run.h"

using namespace keel::ppo;
using keel::core::Ids;
using keel::core::Sample;
using keel::test::likes_seven;
using keel::test::metric;
using keel::test::OneIteration;
using keel::test::small_config;

namespace {

// The same rollout with `columns` more masked columns.
Rollout widened(Rollout rollout, int64_t columns) {
  const int64_t answers = rollout.answers();
  rollout.response_mask = at::cat({rollout.response_mask, at::zeros({answers, columns}, at::kBool)}, 1);
  rollout.engine_logprobs = at::cat({rollout.engine_logprobs, at::full({answers, columns}, NAN)}, 1);
  return rollout;
}

// The same rollout with its answers in another order.
Rollout reordered(const Rollout& rollout, const std::vector<int64_t>& order) {
  const at::Tensor index = at::tensor(order, at::kLong);
  Rollout other{.rows = {},
                .prompt_lengths = {},
                .response_mask = rollout.response_mask.index_select(0, index),
                .last_action_index = rollout.last_action_index.index_select(0, index),
                .finished = rollout.finished.index_select(0, index),
                .engine_logprobs = rollout.engine_logprobs.index_select(0, index)};
  for (const int64_t row : order) {
    other.rows.push_back(rollout.rows[static_cast<size_t>(row)]);
    other.prompt_lengths.push_back(rollout.prompt_lengths[static_cast<size_t>(row)]);
  }
  return other;
}

void check_same_metrics(const keel::core::MetricRow& actual, const keel::core::MetricRow& expected, double tolerance) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    INFO(actual[i].first);
    CHECK(actual[i].first == expected[i].first);
    if (!std::isnan(expected[i].second)) CHECK(actual[i].second == Catch::Approx(expected[i].second).margin(tolerance));
  }
}

}  // namespace

TEST_CASE("ppo (pitfall 3): an answer that holds the id used for padding keeps all its tokens", "[ppo]") {
  // Rows are padded with id 0; an EOS with that id must not be taken for padding.
  const Rollout rollout = make_rollout({{1, 2}, {3}}, {{.prompt = 0, .sample = 0, .ids = {4, 0}, .logprobs = {-1, -1}},
                                                       {.prompt = 1, .sample = 0, .ids = {0, 5, 0, 0}, .logprobs = {-1, -1, -1, -1}}});
  CHECK(rollout.response_mask.sum(1).equal(at::tensor(std::vector<int64_t>{2, 4})));
  const AnswerBatch batch = answer_batch(rollout, {0, 1});
  CHECK(batch.inputs.targets.masked_select(batch.inputs.loss_mask).equal(at::tensor(std::vector<int64_t>{4, 0, 0, 5, 0, 0})));
  CHECK(rollout.last_action_index.equal(at::tensor(std::vector<int64_t>{1, 3})));
}

TEST_CASE("ppo (pitfall 4): seven more columns under the mask change no advantage, loss, metric or weight", "[ppo]") {
  PpoConfig config = small_config();
  config.kl.estimator = KlEstimator::k3;
  config.kl.placement = KlPlacement::loss;
  OneIteration one(config), wide(config);
  wide.rollout = widened(wide.rollout, 7);
  for (int i = 0; i < 2; ++i) {  // the second with a KL that is not 0
    const auto expected = one.assess(), experience = wide.assess();
    CHECK_CLOSE(experience.advantages.slice(1, 0, expected.advantages.size(1)), expected.advantages, 1e-6);
    CHECK_CLOSE(experience.returns.slice(1, 0, expected.returns.size(1)), expected.returns, 1e-6);
    CHECK(experience.advantages.slice(1, expected.advantages.size(1)).abs().sum().item<double>() == 0);
    check_same_metrics(experience.metrics, expected.metrics, 1e-6);
    check_same_metrics(wide.trainer.update(wide.rollout, experience), one.trainer.update(one.rollout, expected), 1e-6);
  }
  const auto expected = one.trainer.state(), actual = wide.trainer.state();
  for (size_t i = 0; i < actual.size(); ++i)
    CHECK_CLOSE(actual[i].tensor, expected[i].tensor, 1e-6);
}

TEST_CASE("ppo (pitfall 5): the answers' order inside one minibatch changes no weight", "[ppo]") {
  PpoConfig config = small_config();
  config.minibatch_answers = 8;
  config.micro_answers = 2;
  OneIteration one(config), other(config);
  const std::vector<int64_t> order = {5, 2, 7, 0, 1, 6, 3, 4};
  other.rollout = reordered(one.rollout, order);
  other.samples.clear();
  for (const int64_t row : order)
    other.samples.push_back(one.samples[static_cast<size_t>(row)]);
  one.trainer.update(one.rollout, one.assess());
  other.trainer.update(other.rollout, other.assess());
  const auto expected = one.trainer.kept(), actual = other.trainer.kept();
  for (size_t i = 0; i < actual.size(); ++i)
    CHECK_CLOSE(actual[i].tensor, expected[i].tensor, 1e-6);
}

TEST_CASE("ppo (pitfall 7): beta follows the measured KL by exactly 1 + clip(kl / target - 1, +-.2) * answers / horizon", "[ppo]") {
  PpoConfig config = small_config();
  config.kl.controller = KlController::adaptive;
  config.kl.target = .01;
  config.kl.horizon = 100;
  config.schedule.learning_rate = .01;
  OneIteration one(config);
  double beta = config.kl.coefficient;
  for (int i = 0; i < 4; ++i) {
    auto experience = one.assess();
    const double error = std::clamp(metric(experience.metrics, "objective/kl") / .01 - 1, -.2, .2);
    for (auto& [name, value] : experience.metrics)
      if (i > 0 && name != "objective/kl_coef") value = NAN;  // beta follows the KL itself, not the log of it
    CHECK(metric(experience.metrics, "objective/kl_coef") == beta);
    one.trainer.update(one.rollout, experience);
    beta = beta * (1 + error * 8 / 100);
    CHECK(one.trainer.kl_coefficient() == Catch::Approx(beta).epsilon(1e-14));
  }
  CHECK(beta != config.kl.coefficient);
}

TEST_CASE("ppo (pitfall 1): after every update the generator samples from the new weights and agrees with the trainer", "[ppo]") {
  for (double temperature : {.7, 1.3}) {
    PpoConfig config = small_config();
    config.sampling.temperature = temperature;
    config.schedule.learning_rate = .02;
    OneIteration one(config);
    for (int i = 0; i < 3; ++i) {
      CHECK(metric(one.trainer.update(one.rollout, one.assess()), "rollout/logprob_drift_max") == 0);
      std::vector<Ids> prompts;
      for (size_t row = 0; row < one.rollout.rows.size(); ++row)
        prompts.emplace_back(one.rollout.rows[row].begin(), one.rollout.rows[row].begin() + one.rollout.prompt_lengths[row]);
      one.samples = keel::policy::generate(
          one.trainer.policy(),
          {.prompts = prompts, .sampling = config.sampling, .stop_ids = {10}, .seed = static_cast<uint64_t>(i), .purpose = "ppo"});
      one.rollout = make_rollout(prompts, one.samples);
    }
  }
}

TEST_CASE("ppo (pitfall 1): the old log-probs are those of the update bit for bit, with a pretraining mix, on any threads, at uneven sizes",
          "[ppo]") {
  // Wide enough that operators share their work among threads.
  const auto wide = [] {
    keel::policy::LlamaConfig shape = keel::test::tiny_config();
    shape.vocab_size = 1031;
    shape.hidden_size = 192;
    shape.intermediate_size = 517;
    shape.max_position_embeddings = 96;
    keel::policy::Llama model = keel::policy::make_llama(shape, 5);
    for (const auto& [name, tensor] : keel::policy::parameters(model))
      if (tensor.dim() == 2) tensor.mul_(4);
    return model;
  };
  std::vector<Ids> prompts;
  std::vector<Sample> samples;
  keel::core::Stream stream(3, "test.rows");
  const auto ids = [&](uint64_t longest) {
    Ids row(1 + stream.below(longest));
    for (auto& id : row)
      id = static_cast<int64_t>(stream.below(1031));
    return row;
  };
  PpoJob job;
  for (int64_t i = 0; i < 7; ++i) {
    prompts.push_back(ids(40));
    const Ids answer = ids(50);
    const auto recorded = keel::policy::sequence_logprobs(wide(), {keel::core::joined(prompts.back(), answer)}).front();
    samples.push_back({.prompt = i, .sample = 0, .ids = answer, .logprobs = {recorded.end() - std::ssize(answer), recorded.end()}});
    const Ids text = ids(60);
    job.pretraining.push_back({.ids = text, .loss_mask = std::vector<bool>(text.size(), true)});
  }
  const int before = at::get_num_threads();
  for (const int threads : {1, 2, 3, 4}) {
    at::set_num_threads(threads);
    for (const int64_t micro : {1, 2, 5}) {
      for (const auto& [weight, rank] : {std::pair{0., 0}, {1., 0}, {0., 2}}) {  // with adapters, whose log-probs are computed again
        PpoConfig config = small_config();
        config.lora.rank = rank;
        config.batch_answers = 7;
        config.minibatch_answers = 5;  // then 2
        config.micro_answers = micro;
        config.schedule.learning_rate = 0;  // so that the second minibatch has ratios of 1 as well
        if (weight > 0) config.ptx = {.weight = weight, .batch_sequences = 3};
        const keel::policy::Llama policy = wide();
        Trainer trainer(policy, keel::reward::make_reward_model(policy, keel::reward::HeadStart::normal, 3), config, 1);
        const Rollout rollout = make_rollout(prompts, samples);
        const auto row = trainer.update(rollout, trainer.assess(rollout, likes_seven(samples)), job.pretraining);
        INFO(threads << " threads, " << micro << " answers a micro-batch, ptx " << weight << ", adapters of rank " << rank);
        CHECK(metric(row, "val/first_ratio_rms") == 0);
        CHECK(metric(row, "policy/approxkl_avg") == 0);
      }
    }
  }
  at::set_num_threads(before);
}
