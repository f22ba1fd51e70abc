// PPO's clipped losses (Schulman et al. 2017, arXiv 1707.06347, equation 7) and the clipped value loss of its reference code.
//
// Legend: B answers, T tokens, V vocabulary. Every result is a sum over the true tokens divided by `tokens`, the number of true tokens
// of the whole optimiser step: results of micro-batches add up to exactly those of the batch.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/config.h"

namespace keel::ppo {

struct LossConfig {
  double policy_clip = 0.2;   // paper
  double value_clip = 0.2;    // not in the paper; customary
  double value_weight = 0.5;  // not in the paper; customary: 1/2 of the squared error for a separate critic, 0.05 on a shared trunk
                              // (TRL's vf_coef 0.1 times 1/2), where it weighs the critic against the policy
};

inline void visit(LossConfig& config, core::Fields& fields) {
  fields("policy_clip", config.policy_clip, "probability ratios count within 1 +- this", core::between(1e-6, 1e6));
  fields("value_clip", config.value_clip, "a value may leave its old value by this much", core::between(1e-6, 1e6));
  fields("value_weight", config.value_weight, "weight of the critic's squared error", core::above(0.0));
}

struct PolicyLoss {
  at::Tensor loss;  // 0-dim, to be differentiated
  // 0-dim, detached means over tokens:
  at::Tensor approxkl;      // (log pi - log old)^2 / 2
  at::Tensor clipfrac;      // share of tokens whose clipped term counts
  at::Tensor ratio;         // pi / old
  at::Tensor ratio_spread;  // (pi / old - 1)^2; the ratio's variance is this minus (ratio - 1)^2
};

// mean of max(-A * r, -A * clip(r, 1 +- policy_clip)), r = pi / old. logprobs, old_logprobs, advantages [B, T] float; mask [B, T] bool,
// true = a token that the policy emitted. Values where the mask is false have no effect. Throws c10::Error when shapes differ or `tokens`
// is less than the true tokens here.
PolicyLoss policy_loss(const at::Tensor& logprobs, const at::Tensor& old_logprobs, const at::Tensor& advantages, const at::Tensor& mask,
                       int64_t tokens, const LossConfig& config);

struct ValueLoss {
  at::Tensor loss;      // 0-dim, to be differentiated
  at::Tensor clipfrac;  // 0-dim, detached: share of tokens whose clipped term counts
};

// value_weight * mean of max((v - R)^2, (clip(v, old +- value_clip) - R)^2); values, old_values, returns [B, T] float; errors as above.
ValueLoss value_loss(const at::Tensor& values, const at::Tensor& old_values, const at::Tensor& returns, const at::Tensor& mask,
                     int64_t tokens, const LossConfig& config);

// Sum of the true elements / tokens; 0-dim.
at::Tensor masked_sum(const at::Tensor& values, const at::Tensor& mask, int64_t tokens);

}  // namespace keel::ppo
