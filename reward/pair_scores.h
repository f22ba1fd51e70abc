// Scores of both answers of a pair. The engine computes the prompt that they share once.
//
// Legend: N pairs. Scores are raw (logits).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "core/types.h"
#include "reward/model.h"

namespace keel::reward {

// shared_tokens(): tokens that both sides begin with; the last token of each side is never shared. pair_tokens(): these and the rest of
// both sides.
int64_t shared_tokens(const core::TokenPair& pair);
int64_t pair_tokens(const core::TokenPair& pair);

// Scores at the last token of each side, [2, N] fp32: chosen, then rejected; with gradients if the weights have them. The same as
// last_token_scores of 2 N rows beyond rounding.
at::Tensor pair_scores(const RewardModel& model, std::span<const core::TokenPair> pairs);

// The same without gradients, for many pairs. Throws as score_rows.
struct PairScores {
  std::vector<double> chosen, rejected;
};
PairScores score_pairs(const RewardModel& model, const std::vector<core::TokenPair>& pairs);

// Throws c10::Error unless both sides of every pair fit the model.
void check_pairs(const RewardModel& model, const std::vector<core::TokenPair>& pairs);

}  // namespace keel::reward
