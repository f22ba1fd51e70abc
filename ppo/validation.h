// Held-out prompts: how good the policy is on them, which weights are kept, and when to stop (Llama 2 paper, 3.2.3: "early stopping on
// held-out prompts").
#pragma once

#include <cstdint>
#include <vector>

#include "core/config.h"
#include "core/metrics.h"
#include "policy/generate.h"
#include "reward/function.h"

namespace keel::ppo {

struct PpoConfig;

struct ValidationConfig {
  int64_t every = 10;    // not in the paper
  double kl_budget = 0;  // not in the paper
  int64_t patience = 0;  // not in the paper
};

inline void visit(ValidationConfig& config, core::Fields& fields) {
  fields("every", config.every,
         "iterations between evaluations on held-out prompts, if there are any; also before the first and after the last",
         core::at_least(1));
  fields("kl_budget", config.kl_budget, "weights further from the reference on held-out prompts are not kept, nats an answer; 0 = no limit",
         core::at_least(0.0));
  fields("patience", config.patience, "stop after this many evaluations in a row without a better one; 0 = never", core::at_least(0));
}

struct HeldOut {
  std::vector<core::Ids> prompts;  // none: no evaluation, and the last weights are kept
  reward::RewardFunction reward;   // of answers to these prompts
};

// Results of a policy on held-out prompts. The first two decide which weights are kept; the row is for the log.
struct Evaluation {
  double probability = 0;  // mean Rc
  double kl = 0;           // eval/kl
  core::MetricRow metrics;
};

// Answers every held-out prompt once, from the stream (seed, "ppo.validation", index of the prompt): every evaluation uses the same draws,
// so that differences between policies are not due to luck. Metrics: eval/kl and eval/kl_k1, eval/response_length, eval/truncated_rate and
// the rewards of ppo/statistics.h under eval/. eval/kl is in nats an answer, at the sampling temperature, by the estimator k3: the plain
// mean of log pi - log ref, k1, has the same expectation, but on few prompts it is often negative and would pass any budget. Throws
// core::Interrupted on SIGTERM.
Evaluation evaluate(const policy::Llama& policy, const policy::Llama& reference, const HeldOut& held_out,
                    const std::vector<int64_t>& stop_ids, const PpoConfig& config, uint64_t seed);

// The best evaluation so far. The checkpoint holds all of it.
struct Best {
  int64_t iteration = -1;  // -1: none yet
  double probability = 0;  // mean Rc
  int64_t worse_since = 0;

  // True when this evaluation is the best so far: a higher mean Rc than any other within the KL budget.
  bool offer(int64_t at_iteration, double mean_probability, double kl, const ValidationConfig& config);
  bool patience_spent(const ValidationConfig& config) const { return config.patience > 0 && worse_since >= config.patience; }
};

}  // namespace keel::ppo
