// One whole update against an independent program: tools/oracle/ppo_update.py, which has the settings; its numbers are in update.json.
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "core/rng.h"
#include "policy/logprobs.h"
#include "ppo/draws.h"
#include "ppo/small_run.h"

using namespace keel::ppo;
using keel::core::Ids;
using keel::core::Sample;
using keel::reward::AnswerReward;
using keel::test::metric;

namespace {

PpoConfig oracle_config(bool shared) {
  PpoConfig config;
  config.iterations = 1;
  config.batch_answers = 16;
  config.minibatch_answers = 4;
  config.micro_answers = 3;
  config.sampling.temperature = .7;
  config.kl.coefficient = .05;
  config.reward = {.missing_eos_penalty = .5};
  config.gae = {.gamma = .98, .lambda = .9};
  config.schedule.learning_rate = .003;
  if (!shared) {
    config.critic_schedule.learning_rate = .005;
    return config;
  }
  config.critic = Critic::shared;
  config.kl.estimator = KlEstimator::k3;
  config.kl.placement = KlPlacement::loss;
  config.score.whiten_scope = WhitenScope::deciding_model;
  config.loss.value_weight = .05;
  config.ptx = {.weight = .3, .batch_sequences = 2};
  return config;
}

// The oracle's models, rollout and rewards.
struct Recorded {
  keel::policy::Llama policy = keel::test::tiny_llama();
  keel::reward::RewardModel critic;
  std::vector<AnswerReward> earned;
  std::vector<keel::core::TokenSequence> pretraining;
  Rollout rollout;

  explicit Recorded(const PpoConfig& config) {
    const auto base = keel::reward::make_reward_model(policy, keel::reward::HeadStart::zeros, 0);
    keel::test::fill_by_formula(keel::reward::parameters(base));
    critic = config.critic == Critic::shared ? keel::reward::RewardModel{keel::policy::backbone_of(policy), base.score} : base;
    std::vector<Ids> prompts;
    std::vector<Sample> samples;
    for (int64_t i = 0; i < 16; ++i) {
      Ids prompt, answer;
      for (int64_t t = 0; t < 2 + i % 3; ++t)
        prompt.push_back(1 + (3 * i + 2 * t) % 9);
      for (int64_t t = 0; t < 1 + 7 * i % 6; ++t)
        answer.push_back(1 + (5 * i + 3 * t + i * t) % 9);
      prompts.push_back(prompt);
      samples.push_back({.prompt = i,
                         .sample = 0,
                         .ids = answer,
                         .logprobs = std::vector<float>(answer.size()),  // from move_policy()
                         .finish = i % 4 != 1 ? keel::core::FinishReason::stop : keel::core::FinishReason::length});
      const double helpfulness = 2 * std::sin(1.7 * static_cast<double>(i)), safety = 2.5 * std::cos(.9 * static_cast<double>(i));
      earned.push_back({.probability = keel::reward::combined_probability(helpfulness, safety, i % 5 == 0, {}),
                        .safety_prompt = i % 5 == 0,
                        .safety_decides = keel::reward::safety_decides(safety, i % 5 == 0, {})});
    }
    for (int64_t i = 0; i < 5; ++i)
      pretraining.push_back({.ids = {1 + i, 2, 3 + i, 4}, .loss_mask = {true, true, true, true}});
    rollout = make_rollout(prompts, samples);
  }

  // The reference is the policy given to the trainer; the update starts from another, which made the answers.
  void move_policy(double temperature) const {
    const auto tensors = keel::policy::parameters(policy);
    const at::NoGradGuard no_grad;
    for (size_t k = 0; k < tensors.size(); ++k) {
      const at::Tensor i = at::arange(tensors[k].tensor.numel(), at::kDouble);
      tensors[k].tensor.add_((.02 * (.7 * i + static_cast<double>(k)).cos()).to(at::kFloat).view(tensors[k].tensor.sizes()));
    }
    const auto logprobs = keel::policy::sequence_logprobs(policy, rollout.rows, temperature);
    for (int64_t row = 0; row < rollout.answers(); ++row) {
      const auto& all = logprobs[static_cast<size_t>(row)];
      const int64_t length = std::ssize(all) + 1 - rollout.prompt_lengths[static_cast<size_t>(row)];
      rollout.engine_logprobs.select(0, row).narrow(0, 0, length).copy_(at::tensor(std::vector<float>(all.end() - length, all.end())));
    }
  }
};

// AdamW's first moments, by parameter.
std::map<std::string, at::Tensor> first_moments(const Trainer& trainer) {
  const std::string prefix = "optimizer.m.";
  std::map<std::string, at::Tensor> moments;
  for (const auto& [name, tensor] : trainer.state())
    if (name.starts_with(prefix)) moments[name.substr(prefix.size())] = tensor;
  return moments;
}

at::Tensor summary(const at::Tensor& tensor) {
  const at::Tensor x = tensor.detach().to(at::kDouble).flatten(), i = at::arange(tensor.numel(), at::kDouble);
  return at::stack({x.norm(), (x * (.7 * i).cos()).sum(), (x * (.31 * i + 1).sin()).sum()});
}

void check_summaries(const std::map<std::string, at::Tensor>& actual, const nlohmann::json& expected) {
  CHECK(actual.size() == expected.size());
  for (const auto& [name, tensor] : actual) {
    INFO(name);
    const auto numbers = expected.at(name).get<std::vector<double>>();
    CHECK_CLOSE(summary(tensor), at::tensor(numbers, at::kDouble), 1e-5);
  }
}

}  // namespace

TEST_CASE("ppo update: losses, the gradient of every parameter and the new weights are those of an independent program", "[ppo]") {
  const auto expected = keel::core::read_json_file(std::string(KEEL_SOURCE_DIR) + "/tests/ppo/update.json");
  CHECK(keel::core::permutation(16, 1, "ppo.order", 0) == std::vector<int64_t>{14, 2, 10, 15, 8, 13, 11, 6, 12, 4, 5, 1, 0, 7, 9, 3});
  CHECK(drawn_in_turn(0, 10, 5, 1, "ppo.ptx") == std::vector<int64_t>{1, 3, 2, 0, 4, 0, 1, 4, 2, 3});
  for (const bool shared : {false, true}) {
    const auto& numbers = expected.at(shared ? "shared" : "separate");
    const auto check_losses = [&](const keel::core::MetricRow& row, const nlohmann::json& losses) {
      for (const auto& [name, value] : losses.items()) {
        INFO(name);
        CHECK(metric(row, "loss/" + name + "_avg") == Catch::Approx(value.get<double>()).margin(1e-5));
      }
    };
    {
      PpoConfig config = oracle_config(shared);
      config.minibatch_answers = 16;
      config.optimizer.clip_norm = 0;
      const Recorded recorded(config);
      Trainer trainer(recorded.policy, recorded.critic, config, 1);
      recorded.move_policy(config.sampling.temperature);
      const auto row = trainer.update(recorded.rollout, trainer.assess(recorded.rollout, recorded.earned), recorded.pretraining);
      check_losses(row, numbers.at("whole_batch").at("losses"));
      auto gradients = first_moments(trainer);  // (1 - beta1) times them, after one step
      for (auto& [name, tensor] : gradients)
        tensor = tensor / (1 - config.optimizer.beta1);
      check_summaries(gradients, numbers.at("whole_batch").at("gradients"));
    }
    const PpoConfig config = oracle_config(shared);
    const Recorded recorded(config);
    Trainer trainer(recorded.policy, recorded.critic, config, 1);
    recorded.move_policy(config.sampling.temperature);
    std::map<std::string, at::Tensor> changes;
    for (const auto& [name, tensor] : trainer.kept())
      changes[name] = tensor.detach().clone();
    const auto row = trainer.update(recorded.rollout, trainer.assess(recorded.rollout, recorded.earned), recorded.pretraining);
    check_losses(row, numbers.at("four_steps").at("losses"));
    check_summaries(first_moments(trainer), numbers.at("four_steps").at("moments"));
    for (const auto& [name, tensor] : trainer.kept())
      changes[name] = tensor.detach() - changes[name];
    check_summaries(changes, numbers.at("four_steps").at("changes"));
  }
}
