#include "reward/combination.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace keel::reward {

double probability(double logit) {
  return 1 / (1 + std::exp(-logit));
}

bool safety_decides(double safety_logit, bool is_safety_prompt, const CombinationConfig& config) {
  return is_safety_prompt || probability(safety_logit) < config.gate_threshold;
}

double combined_probability(double helpfulness_logit, double safety_logit, bool is_safety_prompt, const CombinationConfig& config) {
  TORCH_CHECK(std::isfinite(helpfulness_logit) && std::isfinite(safety_logit),
              "[reward.combination] both scores must be finite, got helpfulness ", helpfulness_logit, " and safety ", safety_logit,
              "; a missing score must stop the step, it is no reward of 0");
  return probability(safety_decides(safety_logit, is_safety_prompt, config) ? safety_logit : helpfulness_logit);
}

}  // namespace keel::reward
