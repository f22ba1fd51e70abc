// Choosing the next token from a distribution.
#pragma once

#include <ATen/core/Tensor.h>

#include "policy/generate.h"

namespace keel::policy {

// Index of the chosen token of each row by inverse CDF, after top-k and then top-p; temperature 0 takes the most likely one.
//   logprobs  [B, V] fp32, at the sampling temperature
//   draws     [B] double in [0, 1)
// Returns [B] int64.
at::Tensor choose(const at::Tensor& logprobs, const at::Tensor& draws, const SamplingConfig& config);

}  // namespace keel::policy
