// Rewards per token (Llama 2 paper, equation 4): the KL penalty at every token and the answer's score at its last one.
//
// Legend: B answers, T tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/config.h"

namespace keel::ppo {

struct RewardShapeConfig {
  double missing_eos_penalty = 0;  // not in the paper
};

inline void visit(RewardShapeConfig& config, core::Fields& fields) {
  fields("missing_eos_penalty", config.missing_eos_penalty,
         "subtracted from the score of an answer that was cut at the length limit; after whitening 1 is a standard deviation",
         core::at_least(0.0));
}

// Scores [B] float, less the penalty where an answer has no EOS; `finished` [B] bool, true = the answer ended by itself.
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
