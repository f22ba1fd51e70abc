#include "reward/train.h"

#include <ATen/TensorOperators.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "policy/packed_model.h"
#include "reward/pair_scores.h"
#include "runtime/parallel.h"

namespace keel::reward {

namespace {

// Log values of a micro-batch, added up over its step.
struct StepSums {
  double loss = 0, ranking = 0, centring = 0, safety = 0;  // already divided by the counts of the step
  double correct = 0, difference = 0, score = 0, tokens = 0;
  double lowest = INFINITY, highest = -INFINITY;

  void operator+=(const StepSums& other) {
    loss += other.loss, ranking += other.ranking, centring += other.centring, safety += other.safety;
    correct += other.correct, difference += other.difference, score += other.score, tokens += other.tokens;
    lowest = std::min(lowest, other.lowest), highest = std::max(highest, other.highest);
  }
};

// Forward pass of the pairs of one micro-batch: its share of the step's loss, 0-dim.
at::Tensor loss_of_pairs(const RewardModel& model, std::span<const core::TokenPair> pairs, const RewardLossCounts& counts,
                         const RewardLossConfig& config, StepSums& sums) {
  const at::Tensor scores = pair_scores(model, pairs);
  const at::Tensor chosen = scores[0], rejected = scores[1];
  const RewardLoss loss = reward_loss(chosen, rejected, pair_labels(pairs), counts, config);

  sums.loss = loss.loss.item<double>();
  sums.ranking = loss.ranking.item<double>();
  sums.centring = loss.centring.item<double>();
  sums.safety = loss.safety.item<double>();
  sums.correct = (chosen > rejected).sum().item<double>();
  sums.difference = (chosen - rejected).sum().item<double>();
  sums.score = scores.sum().item<double>();
  sums.lowest = scores.min().item<double>();
  sums.highest = scores.max().item<double>();
  for (const core::TokenPair& pair : pairs)
    sums.tokens += static_cast<double>(pair.chosen.size() + pair.rejected.size());
  return loss.loss;
}

core::MetricRow step_metrics(const StepSums& sums, const RewardLossCounts& counts) {
  const auto pairs = static_cast<double>(counts.pairs);
  return {{"loss", sums.loss},
          {"ranking_loss", sums.ranking},
          {"centring_loss", sums.centring},
          {"safety_loss", sums.safety},
          {"accuracy", sums.correct / pairs},
          {"margin", sums.difference / pairs},
          {"min_reward", sums.lowest},
          {"mean_reward", sums.score / (2 * pairs)},
          {"max_reward", sums.highest},
          {"num_tokens", sums.tokens}};
}

}  // namespace

std::vector<std::string> problems_of(const RewardTrainConfig& config) {
  std::vector<std::string> problems = problems_of(config.loss);
  core::add_problems(problems, "lora.", policy::problems_of(config.lora));
  if (config.lora.rank > 0 && config.frozen_layers > 0)
    problems.emplace_back("frozen_layers: with lora.rank above 0 no layer's own weights are trained; leave it out, or at its default 0");
  return problems;
}

std::vector<std::string> problems_with(const RewardTrainConfig& config, const policy::LlamaConfig& shape) {
  std::vector<std::string> problems = problems_with(static_cast<const HeadTrainConfig&>(config), shape);
  core::add_problems(problems, "lora.", policy::problems_with(config.lora, shape));
  return problems;
}

RewardModel reward_start(const policy::Llama& model, const RewardTrainConfig& config, uint64_t seed) {
  core::throw_if_any(problems_with(config, model.config));
  if (config.lora.rank == 0) return make_reward_model(model, config.head, seed);
  return {policy::with_lora(policy::backbone_of(model), config.lora, seed, "reward.lora"), make_head(model, config.head, seed)};
}

std::vector<runtime::RowRange> micro_batches(std::span<const core::TokenPair> pairs, const RewardTrainConfig& config) {
  std::vector<int64_t> tokens;
  for (const core::TokenPair& pair : pairs)
    tokens.push_back(2 * std::max(std::ssize(pair.chosen), std::ssize(pair.rejected)));
  return runtime::cut_by_tokens(tokens, config.micro_pairs, config.micro_tokens);
}

void train_reward_model(const RewardModel& model, const std::vector<core::TokenPair>& pairs, const RewardTrainConfig& config, uint64_t seed,
                        const std::filesystem::path& folder, const std::string& label) {
  core::throw_if_any(problems_of(config));
  core::throw_if_any(problems_with(config, model.backbone.config));
  TORCH_CHECK(!pairs.empty(), "[reward.train] there are no pairs to train on");
  check_pairs(model, pairs);
  const std::vector<int64_t> order = order_of_epochs(std::ssize(pairs), config.epochs, seed, "reward.order", "pairs");
  const runtime::Parameters weights = trained_parameters(model, config.frozen_layers);
  const RewardModel trained = {policy::with_gradient_checkpointing(model.backbone, config.gradient_checkpointing), model.score};
  const auto accumulate = [&](int64_t step) -> runtime::Measured {
    const int64_t begin = step * config.batch_pairs, end = std::min(begin + config.batch_pairs, std::ssize(order));
    std::vector<core::TokenPair> batch;
    for (int64_t i = begin; i < end; ++i)
      batch.push_back(pairs[static_cast<size_t>(order[static_cast<size_t>(i)])]);
    // Pairs of one length together waste little padding; the sum does not depend on their order.
    std::stable_sort(batch.begin(), batch.end(), [](const auto& a, const auto& b) { return pair_tokens(a) < pair_tokens(b); });
    const RewardLossCounts counts = loss_counts(batch);
    const auto micro = micro_batches(batch, config);
    const auto parts = runtime::accumulate_gradients<StepSums>(weights, std::ssize(micro), [&](int64_t part, StepSums& measured) {
      const auto [first, last] = micro[static_cast<size_t>(part)];
      return loss_of_pairs(trained, std::span(batch).subspan(first, last - first), counts, config.loss, measured);
    });
    StepSums sums;
    for (const StepSums& part : parts)
      sums += part;
    return {.loss = sums.loss, .metrics = step_metrics(sums, counts)};
  };

  const runtime::OneWorker one(policy::threads_share(model.backbone));
  const int64_t steps = (std::ssize(order) + config.batch_pairs - 1) / config.batch_pairs;
  train_head(config, weights, steps, accumulate, folder, label);
}

}  // namespace keel::reward
