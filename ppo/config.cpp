#include "ppo/config.h"

#include <fmt/format.h>

#include <utility>

namespace keel::ppo {
namespace {

// Why a field has no effect under these settings; "" if it has one.
std::string unread_because(const PpoConfig& config, const std::string& field) {
  if (field == "score.whiten_scope" && !config.score.whiten) return "nothing is whitened without score.whiten";
  if (field == "score.epsilon" && !config.score.whiten && !config.whiten_advantages)
    return "nothing is whitened without score.whiten or whiten_advantages";
  if ((field == "kl.target" || field == "kl.horizon") && config.kl.controller == KlController::fixed)
    return "the controller is fixed, only an adaptive one reads it";
  if (field == "ptx.batch_sequences" && config.ptx.weight == 0) return "ptx.weight is 0, so that no sequences are drawn";
  if (field.starts_with("critic_schedule.") && config.critic == Critic::shared)
    return "a shared critic learns with the policy, by schedule";
  return "";
}

}  // namespace

std::vector<std::string> problems_of(const PpoConfig& config) {
  std::vector<std::string> problems;
  const auto& sampling = config.sampling;
  if (sampling.temperature <= 0 || sampling.top_p < 1 || sampling.top_k > 0) {
    problems.emplace_back("sampling: PPO needs answers from the policy's own distribution: temperature above 0, top_p = 1, top_k = 0");
  }
  if (config.kl.placement == KlPlacement::loss && config.kl.estimator == KlEstimator::k1) {
    problems.emplace_back(
        "kl: in the loss k1 penalises nothing, for the mean of its gradient is 0; take k2 or k3, or the placement reward");
  }
  if (config.kl.controller == KlController::adaptive) {
    if (const double least = kMostKlError * static_cast<double>(config.batch_answers); config.kl.horizon <= least)
      problems.push_back(fmt::format(
          "kl.horizon must be above {} * batch_answers ({}), or one batch of answers takes the coefficient to 0 or below, got {}",
          kMostKlError, least, config.kl.horizon));
    if (config.kl.coefficient == 0) problems.emplace_back("kl.coefficient: an adaptive one that starts at 0 stays there; start above 0");
  }
  for (const auto& field : core::set_fields(config))
    if (const std::string reason = unread_because(config, field.name); !reason.empty())
      problems.push_back(fmt::format("{}: {}; leave it out, or at its default {}", field.name, reason, field.b));
  core::add_problems(problems, "schedule.", runtime::problems_of(config.schedule));
  if (config.critic != Critic::shared) core::add_problems(problems, "critic_schedule.", runtime::problems_of(config.critic_schedule));
  core::add_problems(problems, "lora.", policy::problems_of(config.lora));
  if (config.minibatch_answers > config.batch_answers) problems.emplace_back("minibatch_answers must not be above batch_answers");
  return problems;
}

std::vector<std::string> problems_with(const PpoConfig& config, const policy::LlamaConfig& shape) {
  std::vector<std::string> problems;
  core::add_problems(problems, "lora.", policy::problems_with(config.lora, shape));
  return problems;
}

}  // namespace keel::ppo
