// Reward-model losses (Llama 2 paper, 3.2.2 equations 1-2, margins of table 27; the safety loss of A.3.4).
//
// Legend: N pairs. Scores are raw (logits); sigmoid(score) is the paper's score in (0, 1).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/types.h"

namespace keel::reward {

enum class Margin { none, small, large, own };
constexpr auto names(Margin) {
  return std::to_array<core::Named<Margin>>(
      {{Margin::none, "none"}, {Margin::small, "small"}, {Margin::large, "large"}, {Margin::own, "own"}});
}

struct RewardLossConfig {
  Margin margin = Margin::small;          // table 27; the paper does not say which its final models use; "small" has table 28's best mean
  std::vector<double> margin_table = {};  // of margin "own": for strength 4, 3, 2, 1
  double centring = 0.0;                  // not in the paper; 0.01 is customary where it is used
  double safety_weight = 1.0;             // the paper gives its safety model this loss without a weight; 1 is the plain reading
};

inline void visit(RewardLossConfig& config, core::Fields& fields) {
  fields("margin", config.margin, "margin by preference strength 4..1: small is 1, 2/3, 1/3, 0; large is 3, 2, 1, 0; own is margin_table");
  fields("margin_table", config.margin_table, "margins of strength 4, 3, 2 and 1, e.g. [2, 1, 0.5, 0]; for margin own alone",
         core::between(0.0, 1e6));
  fields("centring", config.centring, "weight of the mean of (chosen + rejected)^2, which keeps scores around 0", core::at_least(0.0));
  fields("safety_weight", config.safety_weight,
         "weight of the safety auxiliary loss over answers that carry a safety label; a run's safety model and reward train --safety "
         "alone have it",
         core::at_least(0.0));
}

// Every violated rule between the fields.
std::vector<std::string> problems_of(const RewardLossConfig& config);

// The annotator's labels of N pairs.
struct PairLabels {
  at::Tensor strength;       // [N] int64, 0..4; 0 = not recorded
  at::Tensor chosen_safe;    // [N] int64, 1 safe, 0 unsafe, -1 not labelled
  at::Tensor rejected_safe;  // [N] int64, likewise
};
PairLabels pair_labels(std::span<const core::TokenPair> pairs);

// Divisors of the losses: counts of the whole optimiser step, so that micro-batches add up to exactly the loss of the batch.
struct RewardLossCounts {
  int64_t pairs = 0;
  int64_t safety_labels = 0;  // answers with a safety label, of both sides
};
RewardLossCounts loss_counts(std::span<const core::TokenPair> pairs);

// m(r) of equation 2 for each strength: [N] int64 -> [N] float. Strength 0 has margin 0. Throws c10::Error for a strength outside 0..4, and
// where problems_of() finds one.
at::Tensor margins(const at::Tensor& strength, const RewardLossConfig& config);

// -log sigmoid(chosen - rejected - margin) per pair; all [N] float.
at::Tensor ranking_loss(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margin);

// -log P(label | score) per answer with P(safe) = sigmoid(score), 0 where the label is -1. `scores` [N] float, `safe` [N] int64.
at::Tensor safety_loss(const at::Tensor& scores, const at::Tensor& safe);

struct RewardLoss {
  at::Tensor loss;                       // 0-dim, to be differentiated: ranking + centring * centring^2 + safety_weight * safety
  at::Tensor ranking, centring, safety;  // 0-dim, detached and unweighted: sum over these pairs / count of the step
};

// chosen, rejected [N] float. Throws c10::Error when shapes differ and for a count that cannot be the step's: below that of these pairs,
// below 1 pair, below 0 labels.
RewardLoss reward_loss(const at::Tensor& chosen, const at::Tensor& rejected, const PairLabels& labels, const RewardLossCounts& counts,
                       const RewardLossConfig& config);

}  // namespace keel::reward
