// Generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438, equations 11-16).
//
// Legend: B answers, T tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/config.h"

namespace keel::ppo {

struct GaeConfig {
  double gamma = 1.0;    // not in the Llama 2 paper; 1 is customary with one reward at the end
  double lambda = 0.95;  // not in the paper either
};

inline void visit(GaeConfig& config, core::Fields& fields) {
  fields("gamma", config.gamma, "discount per token", core::between(0.0, 1.0));
  fields("lambda", config.lambda, "weight of longer advantage estimates: 0 trusts the critic, 1 the rewards", core::between(0.0, 1.0));
}

struct Advantages {
  at::Tensor advantages;  // [B, T] float, 0 where response_mask is false
  at::Tensor returns;     // [B, T] float, advantages + values (the critic's target), 0 where response_mask is false
};

// Advantages of the tokens that the policy emitted. The last true token of a row ends the episode: nothing is bootstrapped from beyond
// it. False tokens between true ones are stepped over as if they were not there.
//
//   rewards        [B, T] float  KL penalty per token plus the score at the last one
//   values         [B, T] float  V(s_t), read before token t is emitted
//   response_mask  [B, T] bool   true = a token that the policy emitted
//
// Throws c10::Error when shapes differ.
Advantages generalised_advantages(const at::Tensor& rewards, const at::Tensor& values, const at::Tensor& response_mask,
                                  const GaeConfig& config);

}  // namespace keel::ppo
