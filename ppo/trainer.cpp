#include "ppo/trainer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "ppo/draws.h"
#include "ppo/statistics.h"
#include "runtime/checkpoint.h"
#include "runtime/dist/ranks.h"
#include "runtime/parallel.h"

namespace keel::ppo {

namespace {

runtime::Parameters with_prefix(const std::string& prefix, runtime::Parameters list) {
  for (auto& entry : list)
    entry.name = prefix + entry.name;
  return list;
}

}  // namespace

Trainer::Trainer(const policy::Llama& policy, const reward::RewardModel& critic, const PpoConfig& config, uint64_t seed)
    : config_(config), seed_(seed), policy_(policy), critic_(critic), kl_coefficient_(config.kl.coefficient) {
  core::throw_if_any(problems_of(config));
  const bool adapters = config.lora.rank > 0;
  if (adapters) {
    policy_ = policy::with_lora(policy, config.lora, seed, "ppo.lora.policy");
    critic_.backbone = policy::with_lora(critic.backbone, config.lora, seed, "ppo.lora.critic");
  }
  policy_.gradient_checkpointing = critic_.backbone.gradient_checkpointing = config.gradient_checkpointing;
  reference_ = adapters ? policy::without_lora(policy) : policy::frozen_copy(policy);
  policy_parameters_ = with_prefix("policy.", adapters ? policy::lora_parameters(policy_) : policy::parameters(policy_));
  const runtime::NamedTensor head = {"critic.score.weight", critic_.score};
  if (shared()) {
    critic_.backbone = policy::backbone_of(policy_);
    policy_parameters_.push_back(head);
  } else {
    const policy::Llama& trunk = critic_.backbone;
    critic_parameters_ = with_prefix("critic.", adapters ? policy::lora_parameters(trunk) : policy::parameters(trunk));
    critic_parameters_.push_back(head);
  }
  all_parameters_ = policy_parameters_;
  all_parameters_.insert(all_parameters_.end(), critic_parameters_.begin(), critic_parameters_.end());
  policy_optimizer_.emplace(policy_parameters_, config.optimizer);
  if (!shared()) critic_optimizer_.emplace(critic_parameters_, config.optimizer);
  if (config.ema_decay > 0) {
    for (const auto& [name, tensor] : policy_parameters_)
      averages_.push_back({"average." + name, tensor.detach().clone()});
  }
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
    minibatches.push_back(micro_batches(rollout, rows, config_.micro_answers, config_.micro_tokens));
  }
  return minibatches;
}

// Log-probs that generation recorded are used where they are those of the update's forward passes to the bit; elsewhere they are computed,
// in the batches of the first update pass. Either way the first minibatch has ratios of exactly 1.
Trainer::Experience Trainer::forward(const Rollout& rollout) const {
  const bool recorded = policy::records_exactly(policy_);
  const at::Tensor empty = at::zeros_like(rollout.engine_logprobs);
  Experience experience{.logprobs = recorded ? at::where(rollout.response_mask, rollout.engine_logprobs, empty) : empty.clone(),
                        .reference = empty.clone(),
                        .values = empty.clone(),
                        .advantages = {},
                        .returns = {},
                        .metrics = {}};
  const double temperature = config_.sampling.temperature;
  const runtime::OneWorkerOn one(critic_.score.device());
  for (const MicroBatches& minibatch : plan(rollout, 0)) {
    runtime::for_each_own_piece(std::ssize(minibatch), [&](int64_t piece) {
      const AnswerBatch batch = answer_batch(rollout, minibatch[static_cast<size_t>(piece)]);
      const at::Tensor states = recorded && !shared() ? at::Tensor() : answer_states(policy_, batch);
      if (!recorded) experience.logprobs.index_copy_(0, batch.index, answer_logprobs(policy_, states, batch, temperature).logprobs);
      experience.values.index_copy_(0, batch.index, values_of(states, batch));
      experience.reference.index_copy_(0, batch.index, answer_logprobs(reference_, batch, temperature).logprobs);
    });
  }
  // A rank has filled the rows of its pieces; the others hold zeros.
  runtime::dist::sum({experience.values, experience.reference});
  if (!recorded) runtime::dist::sum({experience.logprobs});
  return experience;
}

// `states`: those of the policy's trunk, for a critic that shares it.
at::Tensor Trainer::values_of(const at::Tensor& states, const AnswerBatch& batch) const {
  return answer_values(critic_.score, shared() ? states : answer_states(critic_.backbone, batch), batch);
}

Trainer::Experience Trainer::assess(const Rollout& rollout, const std::vector<reward::AnswerReward>& earned) const {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(std::ssize(earned) == rollout.answers(), "[ppo.assess] need one reward for each of ", rollout.answers(), " answers, got ",
              earned.size());
  std::vector<double> probabilities;
  std::vector<int64_t> deciders;
  for (const reward::AnswerReward& reward : earned) {
    probabilities.push_back(reward.probability);
    deciders.push_back(reward.safety_decides ? 1 : 0);
  }
  const at::Tensor probability = at::tensor(probabilities, at::kDouble), safety_decides = at::tensor(deciders, at::kLong) == 1;
  const at::Tensor& mask = rollout.response_mask;
  Experience experience = forward(rollout);

  const at::Tensor kl = kl_per_token(experience.logprobs, experience.reference, config_.kl);
  const double beta = config_.kl.placement == KlPlacement::reward ? kl_coefficient_ : 0;
  const at::Tensor scores =
      scores_with_eos_rule(shaped_scores(probability, safety_decides, config_.score), rollout.finished, config_.reward);
  const at::Tensor rewards = token_rewards(kl, scores, rollout.last_action_index, mask, beta);
  const Advantages gae = generalised_advantages(rewards, experience.values, mask, config_.gae);
  experience.advantages = config_.whiten_advantages ? masked_whiten(gae.advantages, mask, config_.score.epsilon) : gae.advantages;
  experience.returns = gae.returns;

  const auto per_answer = [&](const at::Tensor& values) { return masked_sum(values, mask, rollout.answers()).item<double>(); };
  const auto estimate = [&](KlEstimator estimator) {
    return per_answer(kl_per_token(experience.logprobs, experience.reference, {.estimator = estimator}));
  };
  experience.kl = per_answer(kl);
  const double penalty = -beta * experience.kl;
  experience.metrics = reward_metrics("objective/", earned);
  append(experience.metrics, {{"objective/kl", experience.kl},
                              {"objective/kl_k1", estimate(KlEstimator::k1)},
                              {"objective/kl_k3", estimate(KlEstimator::k3)},
                              {"objective/kl_coef", kl_coefficient_},
                              {"objective/entropy", -per_answer(experience.logprobs)},
                              {"objective/non_score_reward", penalty},
                              {"objective/rlhf_reward", scores.mean().item<double>() + penalty},
                              {"critic/vf_explained_var", explained_variance(experience.values, experience.returns, mask)}});
  if (config_.whiten_advantages)  // this divides the KL penalty in the advantages too: the effective coefficient is beta / std
    experience.metrics.emplace_back(
        "whiten/advantages_std",
        std::sqrt(gae.advantages.masked_select(mask).to(at::kDouble).var(false).item<double>() + config_.score.epsilon));
  append(experience.metrics, whitening_metrics(probability, safety_decides, config_.score));
  append(experience.metrics, row_of(answer_lengths(rollout)));
  return experience;
}

// Log values of one minibatch: means over its tokens, ptx over its targets.
struct Trainer::StepSums {
  double policy_loss = 0, kl_loss = 0, value_loss = 0, ptx_loss = 0;
  double approxkl = 0, clipfrac = 0, value_clipfrac = 0, ratio = 0, ratio_spread = 0, entropy = 0;
  double drift = 0;  // the largest of a token: log-probs that generation recorded against those of this forward pass

  void add(const StepSums& other, double weight = 1) {
    policy_loss += weight * other.policy_loss, kl_loss += weight * other.kl_loss;
    value_loss += weight * other.value_loss, ptx_loss += weight * other.ptx_loss;
    approxkl += weight * other.approxkl, clipfrac += weight * other.clipfrac, value_clipfrac += weight * other.value_clipfrac;
    ratio += weight * other.ratio, ratio_spread += weight * other.ratio_spread;
    entropy += weight * other.entropy;
    if (!(other.drift <= drift)) drift = other.drift;  // NaN stays
  }
};

// The loss of some answers of a minibatch of `tokens` emitted tokens, 0-dim.
at::Tensor Trainer::answers_loss(const Rollout& rollout, const Experience& experience, const std::vector<int64_t>& rows, int64_t tokens,
                                 bool with_entropy, StepSums& sums) const {
  const AnswerBatch batch = answer_batch(rollout, rows);
  const auto of = [&](const at::Tensor& values) { return values.index_select(0, batch.index); };
  const at::Tensor states = answer_states(policy_, batch), values = values_of(states, batch);
  const AnswerLogprobs policy = answer_logprobs(policy_, states, batch, config_.sampling.temperature, with_entropy);
  const PolicyLoss actor =
      policy_loss(policy.logprobs, of(experience.logprobs), of(experience.advantages), batch.mask, tokens, config_.loss);
  const ValueLoss critic = value_loss(values, of(experience.values), of(experience.returns), batch.mask, tokens, config_.loss);
  sums = {.policy_loss = actor.loss.item<double>(),
          .kl_loss = 0,
          .value_loss = critic.loss.item<double>(),
          .ptx_loss = 0,
          .approxkl = actor.approxkl.item<double>(),
          .clipfrac = actor.clipfrac.item<double>(),
          .value_clipfrac = critic.clipfrac.item<double>(),
          .ratio = actor.ratio.item<double>(),
          .ratio_spread = actor.ratio_spread.item<double>(),
          .entropy = with_entropy ? policy.entropy.sum().item<double>() / static_cast<double>(tokens) : 0,
          .drift = (of(rollout.engine_logprobs) - policy.logprobs.detach()).masked_select(batch.mask).abs().max().item<double>()};
  const at::Tensor loss = actor.loss + critic.loss;  // two models, or one trunk, where value_weight balances them
  if (config_.kl.placement == KlPlacement::reward) return loss;
  const at::Tensor penalty = kl_loss(policy.logprobs, of(experience.reference), batch.mask, tokens, kl_coefficient_, config_.kl);
  sums.kl_loss = penalty.item<double>();
  return loss + penalty;
}

// Leaves the gradients of one minibatch to the optimisers.
Trainer::StepSums Trainer::step(const Rollout& rollout, const Experience& experience, const MicroBatches& minibatch,
                                const std::vector<core::TokenSequence>& pretraining, bool with_entropy) {
  int64_t tokens = 0, targets = 0;
  for (const auto& rows : minibatch) {
    for (const int64_t row : rows)
      tokens += std::ssize(rollout.rows[static_cast<size_t>(row)]) - rollout.prompt_lengths[static_cast<size_t>(row)];
  }
  std::vector<std::vector<const core::TokenSequence*>> mix;  // a forward pass each, after those of the answers
  if (config_.ptx.weight > 0) {
    const int64_t count = config_.ptx.batch_sequences;
    std::vector<const core::TokenSequence*> drawn;
    std::vector<int64_t> lengths;
    for (const int64_t index : drawn_in_turn(policy_optimizer_->steps() * count, count, std::ssize(pretraining), seed_, "ppo.ptx")) {
      drawn.push_back(&pretraining[static_cast<size_t>(index)]);
      lengths.push_back(std::ssize(drawn.back()->ids));
      targets += count_targets(*drawn.back());
    }
    for (const auto& [begin, end] : runtime::cut_by_tokens(lengths, config_.micro_answers, config_.micro_tokens))
      mix.emplace_back(drawn.begin() + static_cast<std::ptrdiff_t>(begin), drawn.begin() + static_cast<std::ptrdiff_t>(end));
  }
  // Separate from the mix, so that workers and threads are those of forward(): the first minibatch then has ratios of exactly 1.
  const auto parts =
      runtime::accumulate_gradients<StepSums>(all_parameters_, std::ssize(minibatch), [&](int64_t piece, StepSums& measured) {
        return answers_loss(rollout, experience, minibatch[static_cast<size_t>(piece)], tokens, with_entropy, measured);
      });
  StepSums sums;
  for (const StepSums& part : parts)
    sums.add(part);
  if (mix.empty()) return sums;
  const auto losses = runtime::accumulate_gradients<double>(policy_parameters_, std::ssize(mix), [&](int64_t piece, double& measured) {
    const at::Tensor loss = ptx_loss(policy_, mix[static_cast<size_t>(piece)], targets);
    measured = loss.item<double>();
    return config_.ptx.weight * loss;
  });
  for (const double loss : losses)
    sums.ptx_loss += loss;
  return sums;
}

// A step of one of the two optimisers; the error names it when training diverged.
double Trainer::step_of(runtime::AdamW& optimizer, double rate, const char* name) const {
  try {
    return optimizer.step(rate);
  } catch (const core::UsageError& error) {
    throw core::UsageError(fmt::format("ppo, iteration {}, {}: {}", iteration_ + 1, name, error.what()));
  }
}

void Trainer::average() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < averages_.size(); ++i)
    averages_[i].tensor.lerp_(policy_parameters_[i].tensor, 1 - config_.ema_decay);
}

core::MetricRow Trainer::update(const Rollout& rollout, const Experience& experience, const std::vector<core::TokenSequence>& pretraining) {
  TORCH_CHECK(config_.ptx.weight == 0 || !pretraining.empty(), "[ppo.update] ptx.weight needs pretraining sequences");
  StepSums mean;
  double policy_norm = 0, critic_norm = 0, policy_rate = 0, critic_rate = 0;
  StepSums first;
  const int64_t minibatches = (rollout.answers() + config_.minibatch_answers - 1) / config_.minibatch_answers;
  const int64_t steps = config_.iterations * config_.epochs * minibatches;
  const auto count = static_cast<double>(config_.epochs * minibatches);
  for (int64_t epoch = 0; epoch < config_.epochs; ++epoch) {
    const std::vector<MicroBatches> planned = plan(rollout, epoch);
    for (size_t i = 0; i < planned.size(); ++i) {
      const StepSums sums = step(rollout, experience, planned[i], pretraining, /*with_entropy=*/epoch == 0);
      if (epoch == 0 && i == 0) first = sums;
      const int64_t done = policy_optimizer_->steps();
      policy_rate = runtime::learning_rate(config_.schedule, done, steps);
      policy_norm += step_of(*policy_optimizer_, policy_rate, "policy") / count;
      if (critic_optimizer_) {
        critic_rate = runtime::learning_rate(config_.critic_schedule, done, steps);
        critic_norm += step_of(*critic_optimizer_, critic_rate, "critic") / count;
      }
      average();
      mean.add(sums, 1 / count);
    }
  }
  kl_coefficient_ = next_kl_coefficient(kl_coefficient_, experience.kl, rollout.answers(), config_.kl);
  ++iteration_;
  core::MetricRow row = {{"policy/approxkl_avg", mean.approxkl},
                         {"policy/clipfrac_avg", mean.clipfrac},
                         {"loss/policy_avg", mean.policy_loss},
                         {"loss/value_avg", mean.value_loss},
                         {"val/clipfrac_avg", mean.value_clipfrac},
                         {"val/ratio", mean.ratio},
                         {"val/ratio_var", mean.ratio_spread - (mean.ratio - 1) * (mean.ratio - 1)},
                         {"val/first_ratio_rms", std::sqrt(first.ratio_spread)},
                         {"rollout/logprob_drift_max", first.drift},
                         {"policy/entropy_avg", mean.entropy * static_cast<double>(config_.epochs)},  // of the first epoch
                         {"policy/grad_norm", policy_norm},
                         {"lr", policy_rate},
                         {"episode", static_cast<double>(iteration_ * config_.batch_answers)}};
  if (critic_optimizer_) append(row, {{"critic/grad_norm", critic_norm}, {"critic/lr", critic_rate}});
  if (config_.kl.placement == KlPlacement::loss) row.emplace_back("loss/kl_avg", mean.kl_loss);
  if (config_.ptx.weight > 0) row.emplace_back("loss/ptx_avg", mean.ptx_loss);
  return row;
}

policy::Llama Trainer::averaged_policy() const {
  policy::Llama averaged = policy_;
  if (averages_.empty()) return averaged;
  size_t next = 0;  // averages_ has the order of policy_parameters_
  const auto take = [&](at::Tensor& tensor) { tensor = averages_[next++].tensor; };
  if (config_.lora.rank > 0) {
    policy::visit_adapters(averaged, [&](const std::string&, policy::LowRank& adapter) {
      take(adapter.a);
      take(adapter.b);
    });
  } else {
    policy::visit_weights(averaged, [&](const std::string&, at::Tensor& weight) { take(weight); });
  }
  return averaged;
}

runtime::Parameters Trainer::kept() const {
  runtime::Parameters all = all_parameters_;
  for (size_t i = 0; i < averages_.size(); ++i)
    all[i].tensor = averages_[i].tensor;
  return all;
}

void Trainer::keep(const std::map<std::string, at::Tensor>& tensors) {
  runtime::restore(tensors, all_parameters_);
  runtime::set_trainable(all_parameters_, false);
}

runtime::Parameters Trainer::weights() const {
  runtime::Parameters all = all_parameters_;
  all.insert(all.end(), averages_.begin(), averages_.end());
  return all;
}

runtime::Parameters Trainer::state() const {
  runtime::Parameters all = weights();
  for (const auto* optimizer : {&policy_optimizer_, &critic_optimizer_}) {
    if (!*optimizer) continue;
    for (auto& moment : (*optimizer)->state())
      all.push_back(std::move(moment));
  }
  return all;
}

void Trainer::restore(const std::map<std::string, at::Tensor>& tensors, const Counters& counters) {
  runtime::restore(tensors, all_parameters_);
  runtime::restore(tensors, averages_);
  policy_optimizer_->load_state(tensors, counters.optimizer_steps);
  if (critic_optimizer_) critic_optimizer_->load_state(tensors, counters.optimizer_steps);
  iteration_ = counters.iteration;
  kl_coefficient_ = counters.kl_coefficient;
}

}  // namespace keel::ppo
