#include "ppo/config.h"

#include <fmt/format.h>

namespace keel::ppo {

std::vector<std::string> problems_of(const PpoConfig& config) {
  std::vector<std::string> problems;
  const auto& sampling = config.sampling;
  if (sampling.temperature <= 0 || sampling.top_p < 1 || sampling.top_k > 0) {
    problems.emplace_back("sampling: PPO needs answers from the policy's own distribution: temperature above 0, top_p = 1, top_k = 0");
  }
  if (config.kl.placement == "loss" && config.kl.estimator == "k1") {
    problems.emplace_back(
        "kl: in the loss k1 penalises nothing, for the mean of its gradient is 0; take k2 or k3, or the placement reward");
  }
  if (!config.score.whiten && config.score.whiten_scope != "batch") {
    problems.emplace_back("score.whiten_scope has no meaning without score.whiten");
  }
  if (config.critic == "shared") {
    runtime::ScheduleConfig set = config.critic_schedule, unset = PpoConfig{}.critic_schedule;
    for (const auto& field : core::differences(core::fields_of(set), core::fields_of(unset)))
      problems.push_back(
          fmt::format("critic_schedule.{}: a shared critic learns with the policy, by schedule; leave it out, or at its default {}",
                      field.name, field.b));
  }
  for (const std::string& problem : policy::problems_of(config.lora))
    problems.push_back("lora." + problem);
  if (config.minibatch_answers > config.batch_answers) problems.emplace_back("minibatch_answers must not be above batch_answers");
  return problems;
}

}  // namespace keel::ppo
