#include "reward/combination.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace keel::reward {

double probability(double raw) {
  return 1 / (1 + std::exp(-raw));
}

bool safety_decides(double raw_safety, bool is_safety_prompt, const CombinationConfig& config) {
  return is_safety_prompt || probability(raw_safety) < config.gate_threshold;
}

double combined_probability(double raw_helpfulness, double raw_safety, bool is_safety_prompt, const CombinationConfig& config) {
  TORCH_CHECK(std::isfinite(raw_helpfulness) && std::isfinite(raw_safety),
              "[reward.combination] both scores must be finite, got helpfulness ", raw_helpfulness, " and safety ", raw_safety,
              "; a missing score must stop the step, it is no reward of 0");
  return probability(safety_decides(raw_safety, is_safety_prompt, config) ? raw_safety : raw_helpfulness);
}

}  // namespace keel::reward
