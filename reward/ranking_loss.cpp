#include "reward/ranking_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <optional>

namespace keel::reward {

namespace {

int64_t safety_code(const std::optional<bool>& safe) {
  return safe ? (*safe ? 1 : 0) : -1;
}

int64_t labelled(const at::Tensor& safe) {
  return (safe >= 0).sum().item<int64_t>();
}

// Margins of strength 4, 3, 2, 1 (table 27).
std::vector<double> margin_table(const RewardLossConfig& config) {
  if (config.margin == Margin::small) return {1, 2. / 3, 1. / 3, 0};
  if (config.margin == Margin::large) return {3, 2, 1, 0};
  if (config.margin == Margin::own) return config.margin_table;
  return {0, 0, 0, 0};
}

}  // namespace

std::vector<std::string> problems_of(const RewardLossConfig& config) {
  const size_t count = config.margin_table.size();
  if (config.margin == Margin::own && count != 4)
    return {"loss.margin \"own\" needs loss.margin_table, four numbers for strength 4, 3, 2 and 1, got " + std::to_string(count)};
  if (config.margin != Margin::own && count != 0)
    return {"loss.margin_table is for loss.margin \"own\", got \"" + core::name_of(config.margin) + "\""};
  return {};
}

PairLabels pair_labels(std::span<const core::TokenPair> pairs) {
  std::vector<int64_t> strength, chosen_safe, rejected_safe;
  for (const core::TokenPair& pair : pairs) {
    strength.push_back(pair.strength);
    chosen_safe.push_back(safety_code(pair.chosen_safe));
    rejected_safe.push_back(safety_code(pair.rejected_safe));
  }
  return {at::tensor(strength, at::kLong), at::tensor(chosen_safe, at::kLong), at::tensor(rejected_safe, at::kLong)};
}

RewardLossCounts loss_counts(std::span<const core::TokenPair> pairs) {
  RewardLossCounts counts{.pairs = std::ssize(pairs)};
  for (const core::TokenPair& pair : pairs)
    counts.safety_labels += int{pair.chosen_safe.has_value()} + int{pair.rejected_safe.has_value()};
  return counts;
}

at::Tensor margins(const at::Tensor& strength, const RewardLossConfig& config) {
  if (const auto problems = problems_of(config); !problems.empty()) TORCH_CHECK(false, "[reward.margins] ", problems.front());
  std::vector<double> by_strength = {0};
  const std::vector<double> table = margin_table(config);
  by_strength.insert(by_strength.end(), table.rbegin(), table.rend());
  TORCH_CHECK(strength.numel() == 0 || (strength.min().item<int64_t>() >= 0 && strength.max().item<int64_t>() <= 4),
              "[reward.margins] strength must be 0 (not recorded) or 1..4, got ", strength.min().item<int64_t>(), " to ",
              strength.max().item<int64_t>());
  return at::tensor(by_strength, at::kFloat).to(strength.device()).index_select(0, strength);
}

at::Tensor ranking_loss(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margin) {
  return -at::log_sigmoid(chosen - rejected - margin);
}

at::Tensor safety_loss(const at::Tensor& scores, const at::Tensor& safe) {
  const at::Tensor toward_label = at::where(safe == 1, scores, -scores);
  return at::where(safe >= 0, -at::log_sigmoid(toward_label), at::zeros_like(scores));
}

RewardLoss reward_loss(const at::Tensor& chosen, const at::Tensor& rejected, const PairLabels& labels, const RewardLossCounts& counts,
                       const RewardLossConfig& config) {
  for (const at::Tensor* other : {&rejected, &labels.strength, &labels.chosen_safe, &labels.rejected_safe})
    TORCH_CHECK(chosen.dim() == 1 && chosen.sizes() == other->sizes(),
                "[reward.loss] chosen, rejected and their labels must share one shape [N], got ", chosen.sizes(), " and ", other->sizes());
  const int64_t pairs_here = chosen.numel(), labels_here = labelled(labels.chosen_safe) + labelled(labels.rejected_safe);
  TORCH_CHECK(counts.pairs >= std::max<int64_t>(pairs_here, 1), "[reward.loss] counts.pairs must count the pairs of the whole step, got ",
              counts.pairs, " for ", pairs_here, " pairs here");
  TORCH_CHECK(counts.safety_labels >= labels_here,
              "[reward.loss] counts.safety_labels must count the safety labels of the whole step, got ", counts.safety_labels, " for ",
              labels_here, " labels here");
  const auto pairs = static_cast<double>(counts.pairs);
  const auto safety_labels = static_cast<double>(std::max<int64_t>(counts.safety_labels, 1));  // without labels the sum is 0

  const at::Tensor ranking = ranking_loss(chosen, rejected, margins(labels.strength, config)).sum() / pairs;
  const at::Tensor centring = (chosen + rejected).square().sum() / pairs;
  const at::Tensor safety =
      (safety_loss(chosen, labels.chosen_safe).sum() + safety_loss(rejected, labels.rejected_safe).sum()) / safety_labels;
  const at::Tensor loss = ranking + config.centring * centring + config.safety_weight * safety;
  return {loss, ranking.detach(), centring.detach(), safety.detach()};
}

}  // namespace keel::reward
