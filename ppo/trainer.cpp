#include "ppo/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "runtime/checkpoint.h"
#include "runtime/parallel.h"

namespace keel::ppo {

namespace {

runtime::Parameters with_prefix(const std::string& prefix, runtime::Parameters list) {
  for (auto& entry : list)
    entry.name = prefix + entry.name;
  return list;
}

double mean_of_true(const at::Tensor& values, const at::Tensor& mask) {
  return masked_sum(values, mask, mask.sum().item<int64_t>()).item<double>();
}

// Share of the returns' variance that the values explain.
double explained_variance(const at::Tensor& values, const at::Tensor& returns, const at::Tensor& mask) {
  const at::Tensor target = returns.masked_select(mask).to(at::kDouble);
  const at::Tensor residual = target - values.masked_select(mask);
  return 1 - (residual.var(false) / (target.var(false) + 1e-12)).item<double>();
}

}  // namespace

std::vector<std::string> problems_of(const PpoConfig& config) {
  std::vector<std::string> problems;
  const auto& sampling = config.sampling;
  if (sampling.temperature <= 0 || sampling.top_p < 1 || sampling.top_k > 0) {
    problems.emplace_back("sampling: PPO needs answers from the policy's own distribution: temperature above 0, top_p = 1, top_k = 0");
  }
  if (config.minibatch_answers > config.batch_answers) problems.emplace_back("minibatch_answers must not be above batch_answers");
  return problems;
}

Trainer::Trainer(const policy::Llama& policy, const reward::RewardModel& critic, const PpoConfig& config, uint64_t seed)
    : config_(config),
      seed_(seed),
      policy_(policy),
      reference_(policy::frozen_copy(policy)),
      critic_(critic),
      all_parameters_(with_prefix("policy.", policy::parameters(policy))),
      policy_optimizer_(all_parameters_, config.optimizer),
      critic_optimizer_(with_prefix("critic.", reward::parameters(critic)), config.optimizer),
      kl_coefficient_(config.kl.coefficient) {
  core::throw_if_any(problems_of(config));
  for (auto& parameter : with_prefix("critic.", reward::parameters(critic)))
    all_parameters_.push_back(std::move(parameter));
  runtime::set_trainable(all_parameters_, true);
}

// Rows in a random order, cut into minibatches; inside each, rows of one length share a forward pass.
std::vector<Trainer::MicroBatches> Trainer::plan(const Rollout& rollout, int64_t epoch) const {
  const auto order = core::permutation(rollout.answers(), seed_, "ppo.order", static_cast<uint64_t>(iteration_ * config_.epochs + epoch));
  const auto length = [&](int64_t row) { return rollout.rows[static_cast<size_t>(row)].size(); };
  std::vector<MicroBatches> minibatches;
  for (int64_t begin = 0; begin < rollout.answers(); begin += config_.minibatch_answers) {
    const int64_t end = std::min(begin + config_.minibatch_answers, rollout.answers());
    std::vector<int64_t> rows(order.begin() + begin, order.begin() + end);
    std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return length(a) < length(b); });
    MicroBatches micro;
    for (size_t at = 0; at < rows.size(); ++at) {
      if (at % static_cast<size_t>(config_.micro_answers) == 0) micro.emplace_back();
      micro.back().push_back(rows[at]);
    }
    minibatches.push_back(std::move(micro));
  }
  return minibatches;
}

Trainer::Experience Trainer::assess(const Rollout& rollout, const std::vector<double>& probability) const {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(std::ssize(probability) == rollout.answers(), "[ppo.assess] need one Rc for each of ", rollout.answers(), " answers, got ",
              probability.size());
  const at::Tensor& mask = rollout.response_mask;
  Experience experience{.logprobs = at::zeros_like(rollout.engine_logprobs),
                        .values = at::zeros_like(rollout.engine_logprobs),
                        .advantages = {},
                        .returns = {},
                        .metrics = {}};
  at::Tensor reference = at::zeros_like(rollout.engine_logprobs), entropies = at::zeros_like(reference);
  // The forward passes are those of the first update pass: its first minibatch then has ratios of exactly 1.
  for (const MicroBatches& minibatch : plan(rollout, 0)) {
    runtime::for_each_piece(std::ssize(minibatch), [&](int64_t piece) {
      const AnswerBatch batch = answer_batch(rollout, minibatch[static_cast<size_t>(piece)]);
      const AnswerLogprobs now = answer_logprobs(policy_, batch, config_.sampling.temperature, /*with_entropy=*/true);
      experience.logprobs.index_copy_(0, batch.index, now.logprobs);
      entropies.index_copy_(0, batch.index, now.entropy);
      reference.index_copy_(0, batch.index, answer_logprobs(reference_, batch, config_.sampling.temperature).logprobs);
      experience.values.index_copy_(0, batch.index, answer_values(critic_, batch));
    });
  }

  const at::Tensor kl = kl_per_token(experience.logprobs, reference, config_.kl);
  const at::Tensor combined = at::tensor(probability, at::kDouble);
  const at::Tensor scores = scores_with_eos_rule(shaped_scores(combined, config_.score), rollout.finished, config_.reward);
  const at::Tensor rewards = token_rewards(kl, scores, rollout.last_action_index, mask, kl_coefficient_);
  const Advantages gae = generalised_advantages(rewards, experience.values, mask, config_.gae);
  experience.advantages = config_.whiten_advantages ? masked_whiten(gae.advantages, mask, config_.score.epsilon) : gae.advantages;
  experience.returns = gae.returns;

  const auto per_answer = [&](const at::Tensor& values) { return masked_sum(values, mask, rollout.answers()).item<double>(); };
  const auto estimate = [&](const char* estimator) {
    return per_answer(kl_per_token(experience.logprobs, reference, {.estimator = estimator}));
  };
  const double kl_mean = per_answer(kl), penalty = -kl_coefficient_ * kl_mean;
  const at::Tensor drift = at::where(mask, rollout.engine_logprobs - experience.logprobs, at::zeros_like(kl)).abs();
  experience.metrics = {{"objective/scores", combined.mean().item<double>()},
                        {"objective/kl", kl_mean},
                        {"objective/kl_k1", estimate("k1")},
                        {"objective/kl_k3", estimate("k3")},
                        {"objective/kl_coef", kl_coefficient_},
                        {"objective/entropy", -per_answer(experience.logprobs)},
                        {"objective/non_score_reward", penalty},
                        {"objective/rlhf_reward", scores.mean().item<double>() + penalty},
                        {"policy/entropy_avg", mean_of_true(entropies, mask)},
                        {"critic/vf_explained_var", explained_variance(experience.values, experience.returns, mask)},
                        {"response_length/mean", mask.sum().item<double>() / static_cast<double>(rollout.answers())},
                        {"rollout/logprob_drift_max", drift.max().item<double>()},
                        {"val/num_eos_tokens", rollout.finished.sum().item<double>()}};
  return experience;
}

// Means over the tokens of one minibatch; its gradients are left to the optimisers.
struct Trainer::StepSums {
  double policy_loss = 0, value_loss = 0, approxkl = 0, clipfrac = 0, value_clipfrac = 0, ratio = 0, ratio_spread = 0;

  void add(const StepSums& other, double weight = 1) {
    policy_loss += weight * other.policy_loss, value_loss += weight * other.value_loss;
    approxkl += weight * other.approxkl, clipfrac += weight * other.clipfrac, value_clipfrac += weight * other.value_clipfrac;
    ratio += weight * other.ratio, ratio_spread += weight * other.ratio_spread;
  }
};

Trainer::StepSums Trainer::step(const Rollout& rollout, const Experience& experience, const MicroBatches& minibatch) {
  int64_t tokens = 0;
  for (const auto& rows : minibatch) {
    for (const int64_t row : rows)
      tokens += std::ssize(rollout.rows[static_cast<size_t>(row)]) - rollout.prompt_lengths[static_cast<size_t>(row)];
  }
  std::vector<StepSums> parts(minibatch.size());
  runtime::accumulate_gradients(all_parameters_, std::ssize(minibatch), [&](int64_t piece) {
    const AnswerBatch batch = answer_batch(rollout, minibatch[static_cast<size_t>(piece)]);
    const auto of = [&](const at::Tensor& values) { return values.index_select(0, batch.index); };
    const at::Tensor logprobs = answer_logprobs(policy_, batch, config_.sampling.temperature).logprobs;
    const PolicyLoss actor = policy_loss(logprobs, of(experience.logprobs), of(experience.advantages), batch.mask, tokens, config_.loss);
    const at::Tensor values = answer_values(critic_, batch);
    const ValueLoss critic = value_loss(values, of(experience.values), of(experience.returns), batch.mask, tokens, config_.loss);
    parts[static_cast<size_t>(piece)] = {.policy_loss = actor.loss.item<double>(),
                                         .value_loss = critic.loss.item<double>(),
                                         .approxkl = actor.approxkl.item<double>(),
                                         .clipfrac = actor.clipfrac.item<double>(),
                                         .value_clipfrac = critic.clipfrac.item<double>(),
                                         .ratio = actor.ratio.item<double>(),
                                         .ratio_spread = actor.ratio_spread.item<double>()};
    return actor.loss + critic.loss;  // of two models: their gradients do not meet
  });
  StepSums sums;
  for (const StepSums& part : parts)
    sums.add(part);
  return sums;
}

// A step of one of the two optimisers; when training diverged the error says of which.
double Trainer::step_of(runtime::AdamW& optimizer, double rate, const char* name) const {
  try {
    return optimizer.step(rate);
  } catch (const core::UsageError& error) {
    throw core::UsageError(fmt::format("ppo, iteration {}, {}: {}", iteration_ + 1, name, error.what()));
  }
}

core::MetricRow Trainer::update(const Rollout& rollout, const Experience& experience) {
  StepSums mean;
  double policy_norm = 0, critic_norm = 0, first_deviation = 0, policy_rate = 0, critic_rate = 0;
  const int64_t minibatches = (rollout.answers() + config_.minibatch_answers - 1) / config_.minibatch_answers;
  const int64_t steps = config_.iterations * config_.epochs * minibatches;
  const auto count = static_cast<double>(config_.epochs * minibatches);
  for (int64_t epoch = 0; epoch < config_.epochs; ++epoch) {
    const std::vector<MicroBatches> planned = plan(rollout, epoch);
    for (size_t i = 0; i < planned.size(); ++i) {
      const StepSums sums = step(rollout, experience, planned[i]);
      if (epoch == 0 && i == 0) first_deviation = std::sqrt(sums.ratio_spread);
      policy_rate = runtime::learning_rate(config_.schedule, policy_optimizer_.steps(), steps);
      critic_rate = runtime::learning_rate(config_.critic_schedule, critic_optimizer_.steps(), steps);
      policy_norm += step_of(policy_optimizer_, policy_rate, "policy") / count;
      critic_norm += step_of(critic_optimizer_, critic_rate, "critic") / count;
      mean.add(sums, 1 / count);
    }
  }
  const auto kl =
      std::find_if(experience.metrics.begin(), experience.metrics.end(), [](const auto& entry) { return entry.first == "objective/kl"; });
  kl_coefficient_ = next_kl_coefficient(kl_coefficient_, kl->second, rollout.answers(), config_.kl);
  ++iteration_;
  return {{"policy/approxkl_avg", mean.approxkl},
          {"policy/clipfrac_avg", mean.clipfrac},
          {"loss/policy_avg", mean.policy_loss},
          {"loss/value_avg", mean.value_loss},
          {"val/clipfrac_avg", mean.value_clipfrac},
          {"val/ratio", mean.ratio},
          {"val/ratio_var", mean.ratio_spread - (mean.ratio - 1) * (mean.ratio - 1)},
          {"val/first_ratio_rms", first_deviation},
          {"policy/grad_norm", policy_norm},
          {"critic/grad_norm", critic_norm},
          {"lr", policy_rate},
          {"critic/lr", critic_rate},
          {"episode", static_cast<double>(iteration_ * config_.batch_answers)}};
}

runtime::Parameters Trainer::state() const {
  runtime::Parameters all = all_parameters_;
  for (const auto& list : {policy_optimizer_.state(), critic_optimizer_.state()})
    all.insert(all.end(), list.begin(), list.end());
  return all;
}

void Trainer::restore(const std::map<std::string, at::Tensor>& tensors, const Counters& counters) {
  runtime::restore(tensors, all_parameters_);
  policy_optimizer_.load_state(tensors, counters.optimizer_steps);
  critic_optimizer_.load_state(tensors, counters.optimizer_steps);
  iteration_ = counters.iteration;
  kl_coefficient_ = counters.kl_coefficient;
}

}  // namespace keel::ppo
