#include "runtime/schedule.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace keel::runtime {

std::vector<std::string> problems_of(const ScheduleConfig& config) {
  const double unset = ScheduleConfig{}.final_ratio;
  if (config.schedule != Schedule::constant || config.final_ratio == unset) return {};
  return {fmt::format("final_ratio: a constant schedule has no last rate; leave it out, or at its default {}", unset)};
}

double learning_rate(const ScheduleConfig& config, int64_t step, int64_t steps) {
  if (step < config.warmup_steps) return config.learning_rate * static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps);
  if (config.schedule == Schedule::constant) return config.learning_rate;
  const auto remaining = static_cast<double>(steps - config.warmup_steps);
  const double progress = remaining <= 0 ? 1.0 : static_cast<double>(step - config.warmup_steps) / remaining;
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * std::fmin(progress, 1.0)));
  return config.learning_rate * (config.final_ratio + (1.0 - config.final_ratio) * cosine);
}

}  // namespace keel::runtime
