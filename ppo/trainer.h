// One PPO iteration in two parts, for custom loops: from answers and their rewards to advantages, and from there to new weights.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/metrics.h"
#include "ppo/config.h"
#include "ppo/rollout.h"
#include "reward/function.h"

namespace keel::ppo {

// The state that changes from iteration to iteration, and the frozen reference of the KL penalty.
class Trainer {
 public:
  // Trains `policy` and `critic` (see make_critic) in place; the reference is a copy of `policy` as it is now. With adapters (lora.rank >
  // 0) the critic's head alone changes: policy and critic are these weights plus adapters, the reference is these weights, and nothing is
  // copied. A critic with Critic::shared is a head; its trunk is the policy. Throws core::ConfigError when settings contradict
  // each other.
  Trainer(const policy::Llama& policy, const reward::RewardModel& critic, const PpoConfig& config, uint64_t seed);

  // What an update needs, for all answers of an iteration; [B, A] fp32, 0 where the rollout's response_mask is false.
  struct Experience {
    at::Tensor logprobs;    // of the policy before any update: recorded, where that is what the trainer's forward pass says
    at::Tensor reference;   // log-probs of the reference
    at::Tensor values;      // of the critic before any update
    at::Tensor advantages;  // whitened over the iteration's tokens if so configured
    at::Tensor returns;
    double kl = 0;            // against the reference, nats an answer, by the configured estimator: what an adaptive coefficient follows
    core::MetricRow metrics;  // to be logged; nothing reads them
  };

  Experience assess(const Rollout& rollout, const std::vector<reward::AnswerReward>& earned) const;  // one reward an answer

  // Clipped updates of policy and critic, one AdamW step each a minibatch; then updates the KL coefficient. `pretraining`: sequences for
  // ptx. Returns metrics.
  core::MetricRow update(const Rollout& rollout, const Experience& experience, const std::vector<core::TokenSequence>& pretraining = {});

  const policy::Llama& policy() const { return policy_; }  // with its adapters, if any
  const reward::RewardModel& critic() const { return critic_; }
  const policy::Llama& reference() const { return reference_; }
  policy::Llama averaged_policy() const;            // with the averaged weights; without an average the policy itself
  int64_t iteration() const { return iteration_; }  // iterations done
  double kl_coefficient() const { return kl_coefficient_; }

  // The trained weights by name, with averages in place of the policy's own. keep() sets such weights as the final ones of policy and
  // critic and turns their gradients off.
  runtime::Parameters kept() const;
  void keep(const std::map<std::string, at::Tensor>& tensors);

  // The whole state for a checkpoint: tensors by name (weights, moments, averages) and counters. restore() loads both.
  struct Counters {
    int64_t iteration = 0;
    int64_t optimizer_steps = 0;
    double kl_coefficient = 0;
  };
  runtime::Parameters weights() const;  // all that learn, and averages
  runtime::Parameters state() const;    // and the optimisers' moments, as AdamW::state() gives them: all ranks call it
  Counters counters() const { return {iteration_, policy_optimizer_->steps(), kl_coefficient_}; }
  void restore(const std::map<std::string, at::Tensor>& tensors, const Counters& counters);

 private:
  using MicroBatches = std::vector<std::vector<int64_t>>;  // rows of each forward pass of one minibatch
  struct StepSums;
  bool shared() const { return config_.critic == Critic::shared; }
  Experience forward(const Rollout& rollout) const;  // log-probs and values
  at::Tensor values_of(const at::Tensor& states, const AnswerBatch& batch) const;
  std::vector<MicroBatches> plan(const Rollout& rollout, int64_t epoch) const;
  at::Tensor answers_loss(const Rollout& rollout, const Experience& experience, const std::vector<int64_t>& rows, int64_t tokens,
                          bool with_entropy, StepSums& sums) const;
  StepSums step(const Rollout& rollout, const Experience& experience, const MicroBatches& minibatch,
                const std::vector<core::TokenSequence>& pretraining, bool with_entropy);
  double step_of(runtime::AdamW& optimizer, double rate, const char* name) const;
  void average();

  PpoConfig config_;
  uint64_t seed_;
  policy::Llama policy_, reference_;
  reward::RewardModel critic_;
  // Named "policy. ..." and "critic. ..."; the head of a shared critic is one of the policy's.
  runtime::Parameters policy_parameters_, critic_parameters_, all_parameters_;
  runtime::Parameters averages_;  // of policy_parameters_, "average. ..." before their names; empty without an average
  std::optional<runtime::AdamW> policy_optimizer_, critic_optimizer_;  // a shared critic has none of its own
  double kl_coefficient_;
  int64_t iteration_ = 0;
};

}  // namespace keel::ppo
