// The PPO loop (Llama 2 paper, 3.2.3): sample, score, assess, update; held-out prompts, checkpoints and metrics.
#pragma once

#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/metrics.h"
#include "ppo/config.h"
#include "reward/function.h"

namespace keel::ppo {

// The critic of config.critic, for a Trainer: a copy of the reward model, or the policy's backbone with a zero head, copied unless the
// trunk is to be shared. With adapters (lora.rank > 0) the trunk is never copied: it stays as it is. No critic but "reward" reads the
// model.
reward::RewardModel make_critic(const PpoConfig& config, const policy::Llama& policy,
                                const std::optional<reward::RewardModel>& reward_model);

struct PpoJob {
  std::vector<core::Ids> prompts;         // drawn in a new random order every time round
  std::vector<int64_t> stop_ids;          // end an answer
  reward::RewardFunction reward;          // of answers to `prompts`
  std::vector<std::string> sources = {};  // of each prompt, for the metrics; empty, or "" where unknown
  HeldOut held_out = {};
  std::vector<core::TokenSequence> pretraining = {};  // sequences for ptx
  bool holds_out() const { return !held_out.prompts.empty(); }
};

// Seconds that this process spent, by phase.
struct PpoTimes {
  double generation = 0, scoring = 0, assessment = 0, update = 0, validation = 0;
};
double total(const PpoTimes& times);
core::MetricRow row_of(const PpoTimes& times);  // and their "total"
PpoTimes& operator+=(PpoTimes& times, const PpoTimes& more);

struct PpoResult {
  PpoTimes times;
  policy::Llama policy;        // the kept policy, adapters merged
  reward::RewardModel critic;  // likewise
  int64_t iterations = 0;      // done; fewer than configured when patience ran out
  int64_t kept_iteration = 0;  // whose weights are kept: the best on held-out prompts, or the last
  double held_out_probability = std::numeric_limits<double>::quiet_NaN();  // their mean Rc on held-out prompts; NaN without such
};

// Runs config.iterations in `folder` (metrics.jsonl, TensorBoard events, timings.jsonl, ckpt/), from its last checkpoint if there is one.
// `policy` and `critic` (see make_critic) must be given as they were at the start. Without adapters they are trained in place and the
// result shares their storage; with adapters all but the critic's head stays as it is, the result holds merged weights, FOLDER/adapter
// the policy's adapter and FOLDER/critic_adapter that of a critic of its own. With held-out prompts the best weights within the KL budget
// are kept, which may be those of the start; an average (ema_decay) is what is evaluated and kept. Weights and metrics end bit for bit as
// those of an uninterrupted run on the same machine and thread count. Throws core::Interrupted after a checkpoint on SIGTERM,
// core::ConfigError, and core::DataError for a checkpoint that began from another policy.
PpoResult train(const policy::Llama& policy, const reward::RewardModel& critic, const PpoJob& job, const PpoConfig& config, uint64_t seed,
                const std::filesystem::path& folder);

}  // namespace keel::ppo
