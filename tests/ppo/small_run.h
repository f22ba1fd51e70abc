// A PPO run of a tiny model in a second: prompts, an easy reward, models, one iteration by hand.
#pragma once

#include <algorithm>

#include "ppo/train.h"
#include "ppo/trainer.h"
#include "support/tiny_model.h"

namespace keel::test {

inline ppo::PpoConfig small_config() {
  ppo::PpoConfig config;
  config.iterations = 3;
  config.batch_answers = 8;
  config.minibatch_answers = 4;
  config.micro_answers = 4;
  config.sampling = {.temperature = 1, .max_new_tokens = 6};
  config.schedule.learning_rate = .002;
  config.critic_schedule.learning_rate = .005;
  return config;
}

// The same with batches that are large enough to learn from.
inline ppo::PpoConfig learning_config(int64_t iterations) {
  ppo::PpoConfig config = small_config();
  config.iterations = iterations;
  config.batch_answers = 32;
  config.minibatch_answers = config.micro_answers = 16;
  config.schedule.learning_rate = .01;
  return config;
}

// A shared critic has no schedule of its own.
inline void share_critic(ppo::PpoConfig& config) {
  config.critic = ppo::Critic::shared;
  config.critic_schedule = ppo::PpoConfig{}.critic_schedule;
}

// Rc grows with the share of id 7 in the answer. Prompt 3 is about safety, and the gate catches answers that begin with an id below 3.
inline std::vector<reward::AnswerReward> likes_seven(const std::vector<core::Sample>& samples) {
  std::vector<reward::AnswerReward> earned;
  for (const core::Sample& sample : samples) {
    const auto sevens = static_cast<double>(std::count(sample.ids.begin(), sample.ids.end(), 7));
    const bool tagged = sample.prompt == 3;
    earned.push_back({.probability = .1 + .8 * sevens / static_cast<double>(sample.ids.size()),
                      .safety_prompt = tagged,
                      .safety_decides = tagged || sample.ids.front() < 3});
  }
  return earned;
}

inline ppo::PpoJob small_job() {
  return {.prompts = {{1, 2, 3}, {4}, {5, 6}, {1, 9}, {2, 2, 2, 2}}, .stop_ids = {10}, .reward = likes_seven};
}

struct Models {
  policy::Llama policy = tiny_llama();
  reward::RewardModel critic = reward::make_reward_model(policy, reward::HeadStart::normal, 3);
};

inline double metric(const core::MetricRow& row, const std::string& name) {
  for (const auto& [key, value] : row) {
    if (key == name) return value;
  }
  FAIL("no metric " << name);
  return 0;
}

// Mean of a metric from one iteration on, counted from 0.
inline double mean_from(size_t first, const std::vector<core::MetricPoint>& points, const std::string& name) {
  double sum = 0;
  for (size_t i = first; i < points.size(); ++i)
    sum += metric(points[i].values, name);
  return sum / static_cast<double>(points.size() - first);
}

// Mean objective/scores over the first and the last fifth of the iterations: a single one is noisy and depends on the processor.
inline std::pair<double, double> early_and_late_scores(const std::vector<core::MetricPoint>& points) {
  const size_t fifth = points.size() / 5;
  double early = 0, late = 0;
  for (size_t i = 0; i < fifth; ++i) {
    early += metric(points[i].values, "objective/scores");
    late += metric(points[points.size() - 1 - i].values, "objective/scores");
  }
  return {early / static_cast<double>(fifth), late / static_cast<double>(fifth)};
}

struct OneIteration {
  Models models;
  ppo::PpoConfig config;
  ppo::Trainer trainer;
  std::vector<core::Sample> samples;
  ppo::Rollout rollout;

  explicit OneIteration(const ppo::PpoConfig& settings) : config(settings), trainer(models.policy, models.critic, settings, 1) {
    std::vector<core::Ids> prompts;
    const auto all = small_job().prompts;
    for (int64_t i = 0; i < config.batch_answers; ++i)
      prompts.push_back(all[static_cast<size_t>(i) % all.size()]);
    samples =
        policy::generate(models.policy, {.prompts = prompts, .sampling = config.sampling, .stop_ids = {10}, .seed = 9, .purpose = "ppo"});
    rollout = ppo::make_rollout(prompts, samples);
  }

  ppo::Trainer::Experience assess() const { return trainer.assess(rollout, likes_seven(samples)); }
};

inline std::string digest(const policy::Llama& model) {
  return runtime::digest(policy::parameters(model));
}

inline std::string digest(const reward::RewardModel& model) {
  return runtime::digest(reward::parameters(model));
}

}  // namespace keel::test
