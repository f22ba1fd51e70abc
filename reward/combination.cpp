#include "reward/combination.h"

#include <c10/util/Exception.h>

#include <cmath>

namespace keel::reward {

double combined_probability(double raw_helpfulness, double raw_safety, bool is_safety_prompt, const CombinationConfig& config) {
  TORCH_CHECK(std::isfinite(raw_helpfulness) && std::isfinite(raw_safety),
              "[reward.combination] both scores must be finite, got helpfulness ", raw_helpfulness, " and safety ", raw_safety,
              "; a missing score must stop the step, it is no reward of 0");
  const double safety = 1 / (1 + std::exp(-raw_safety));
  if (is_safety_prompt || safety < config.gate_threshold) return safety;
  return 1 / (1 + std::exp(-raw_helpfulness));
}

}  // namespace keel::reward
