// Which tokens a model attends to, for people to look at.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/types.h"
#include "policy/llama.h"

namespace keel::policy {

// Attention weights of each layer, the mean over its heads: row i holds those of token `from` + i over all T tokens, and adds up to 1.
// Returns [T - from, T] fp32 for each layer; without gradients. c10::Error unless 0 <= from < T and T fits the context.
std::vector<at::Tensor> attention_weights(const Llama& model, const core::Ids& ids, int64_t from);

}  // namespace keel::policy
