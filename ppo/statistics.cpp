#include "ppo/statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones_like.h>

#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "ppo/losses.h"

namespace keel::ppo {

namespace {

class Mean {
 public:
  void add(double value) { sum_ += value, count_ += 1; }
  double value() const { return sum_ / count_; }  // NaN for none

 private:
  double sum_ = 0, count_ = 0;
};

}  // namespace

double mean_probability(const std::vector<reward::AnswerReward>& rewards) {
  Mean mean;
  for (const reward::AnswerReward& reward : rewards)
    mean.add(reward.probability);
  return mean.value();
}

core::MetricRow reward_metrics(const std::string& prefix, const std::vector<reward::AnswerReward>& rewards) {
  Mean helpful, safe, gated, decided, helpfulness, safety;
  for (const reward::AnswerReward& reward : rewards) {
    (reward.safety_prompt ? safe : helpful).add(reward.probability);
    if (!reward.safety_prompt) gated.add(reward.safety_decides ? 1 : 0);
    decided.add(reward.safety_decides ? 1 : 0);
    helpfulness.add(reward.helpfulness);
    safety.add(reward.safety);
  }
  core::MetricRow row = {{prefix + "scores", mean_probability(rewards)},
                         {prefix + "scores_helpful", helpful.value()},
                         {prefix + "scores_safety", safe.value()},
                         {prefix + "gate_share", gated.value()},
                         {prefix + "safety_share", decided.value()}};
  for (const auto& [name, mean] : {std::pair{"helpfulness", helpfulness}, {"safety", safety}})
    if (!std::isnan(mean.value())) row.emplace_back(prefix + name, mean.value());
  return row;
}

core::MetricRow source_metrics(const std::string& prefix, const std::vector<core::Sample>& samples,
                               const std::vector<reward::AnswerReward>& rewards, const std::vector<std::string>& sources) {
  std::map<std::string, Mean> means;
  for (size_t i = 0; i < samples.size() && !sources.empty(); ++i)
    if (const std::string& source = sources.at(static_cast<size_t>(samples[i].prompt)); !source.empty())
      means[source].add(rewards.at(i).probability);
  core::MetricRow row;
  for (const auto& [source, mean] : means)
    row.emplace_back(prefix + source, mean.value());
  return row;
}

AnswerLengths answer_lengths(const Rollout& rollout) {
  const at::Tensor lengths = rollout.response_mask.sum(1).to(at::kDouble), finished = rollout.finished.to(at::kDouble);
  return {.mean = lengths.mean().item<double>(),
          .min = lengths.min().item<double>(),
          .max = lengths.max().item<double>(),
          .finished = finished.sum().item<double>(),
          .truncated_rate = 1 - finished.mean().item<double>()};
}

core::MetricRow row_of(const AnswerLengths& lengths) {
  return {{"response_length/mean", lengths.mean},
          {"response_length/min", lengths.min},
          {"response_length/max", lengths.max},
          {"rollout/truncated_rate", lengths.truncated_rate},
          {"val/num_eos_tokens", lengths.finished}};
}

core::MetricRow whitening_metrics(const at::Tensor& probability, const at::Tensor& safety_decides, const ScoreConfig& config) {
  const at::Tensor scores = logit(probability, config.logit_clamp);
  core::MetricRow row;
  const auto add = [&](const char* suffix, const at::Tensor& chosen) {
    const at::Tensor kept = scores.masked_select(chosen);
    row.emplace_back(std::string("whiten/mean") + suffix, kept.mean().item<double>());
    row.emplace_back(std::string("whiten/std") + suffix, std::sqrt((kept - kept.mean()).square().mean().item<double>()));
  };
  if (config.whiten_scope == WhitenScope::batch) {
    add("", at::ones_like(safety_decides));
  } else {
    add("_helpfulness", ~safety_decides);
    add("_safety", safety_decides);
  }
  return row;
}

double explained_variance(const at::Tensor& values, const at::Tensor& returns, const at::Tensor& mask) {
  const at::Tensor target = returns.masked_select(mask).to(at::kDouble);
  const at::Tensor residual = target - values.masked_select(mask);
  return 1 - (residual.var(false) / (target.var(false) + 1e-12)).item<double>();
}

void append(core::MetricRow& row, core::MetricRow more) {
  row.insert(row.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

}  // namespace keel::ppo
