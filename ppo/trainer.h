// One PPO iteration in two parts, for loops of one's own: from answers and their scores to advantages, and from there to new weights.
#pragma once

#include <cstdint>
#include <vector>

#include "core/metrics.h"
#include "ppo/config.h"
#include "ppo/rollout.h"

namespace keel::ppo {

// Everything that changes from iteration to iteration, and the frozen policy that the KL penalty is measured against.
class Trainer {
 public:
  // Trains `policy` and `critic` in place; the reference is a copy of `policy` as it is now. Throws core::ConfigError when settings
  // contradict each other.
  Trainer(const policy::Llama& policy, const reward::RewardModel& critic, const PpoConfig& config, uint64_t seed);

  // What an update needs, for all answers of an iteration; [B, A] fp32, 0 where the rollout's response_mask is false.
  struct Experience {
    at::Tensor logprobs;    // of the policy before any update, by the trainer's own forward pass
    at::Tensor values;      // of the critic before any update
    at::Tensor advantages;  // whitened over the iteration's tokens if so configured
    at::Tensor returns;
    core::MetricRow metrics;
  };

  // `probability` is Rc of each answer, in [0, 1] (reward/combination.h).
  Experience assess(const Rollout& rollout, const std::vector<double>& probability) const;

  // Clipped updates of policy and critic, one AdamW step each a minibatch; then the KL coefficient's own. Returns metrics.
  core::MetricRow update(const Rollout& rollout, const Experience& experience);

  const policy::Llama& policy() const { return policy_; }
  const policy::Llama& reference() const { return reference_; }
  int64_t iteration() const { return iteration_; }  // iterations done
  double kl_coefficient() const { return kl_coefficient_; }

  // All of it by name for a checkpoint (weights, moments) and the counters that are no tensors; restore() takes them back.
  struct Counters {
    int64_t iteration = 0;
    int64_t optimizer_steps = 0;
    double kl_coefficient = 0;
  };
  runtime::Parameters state() const;
  Counters counters() const { return {iteration_, policy_optimizer_.steps(), kl_coefficient_}; }
  void restore(const std::map<std::string, at::Tensor>& tensors, const Counters& counters);

 private:
  using MicroBatches = std::vector<std::vector<int64_t>>;  // rows of each forward pass of one minibatch
  std::vector<MicroBatches> plan(const Rollout& rollout, int64_t epoch) const;
  struct StepSums;
  StepSums step(const Rollout& rollout, const Experience& experience, const MicroBatches& minibatch);
  double step_of(runtime::AdamW& optimizer, double rate, const char* name) const;

  PpoConfig config_;
  uint64_t seed_;
  policy::Llama policy_, reference_;
  reward::RewardModel critic_;
  runtime::Parameters all_parameters_;  // names with "policy." and "critic." before them
  runtime::AdamW policy_optimizer_, critic_optimizer_;
  double kl_coefficient_;
  int64_t iteration_ = 0;
};

}  // namespace keel::ppo
