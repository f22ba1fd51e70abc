// Rewards per token (Llama 2 paper, equation 4): the KL penalty at every token and the answer's score at its last one.
//
// Legend: B answers, T tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/config.h"

namespace keel::ppo {

struct RewardShapeConfig {
  std::string missing_eos = "none";  // not in the paper
  double missing_eos_value = 1.0;    // after whitening a score of 1 is one standard deviation
};

inline void visit(RewardShapeConfig& config, core::Fields& fields) {
  fields("missing_eos", config.missing_eos,
         "score of an answer cut at the length limit: as it is, less missing_eos_value, or -missing_eos_value",
         core::one_of({"none", "subtract", "replace"}));
  fields("missing_eos_value", config.missing_eos_value, "see missing_eos", core::at_least(0.0));
}

// Scores [B] float after the rule for answers without EOS; `finished` [B] bool, true = the answer ended by itself.
at::Tensor scores_with_eos_rule(const at::Tensor& scores, const at::Tensor& finished, const RewardShapeConfig& config);

// -beta * kl_t at every true token, plus the score at the last one; 0 elsewhere. Returns [B, T] float.
//
//   kl                 [B, T] float  ppo/kl.h
//   scores             [B] float     whitened scores of the answers
//   last_action_index  [B] int64     index in T of the last token that the policy emitted
//   response_mask      [B, T] bool   true = a token that the policy emitted
//
// Throws c10::Error when a row is empty, or last_action_index is not its last true token (a reward on a pad teaches nothing).
at::Tensor token_rewards(const at::Tensor& kl, const at::Tensor& scores, const at::Tensor& last_action_index,
                         const at::Tensor& response_mask, double beta);

}  // namespace keel::ppo
