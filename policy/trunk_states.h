#pragma once

#include "policy/llama.h"
#include "runtime/batch.h"

namespace keel::policy {

// Whether trunk_states() takes this model and batch: fp32 on the CPU, all weights contiguous, no adapters, and no mask beyond sequences.
bool has_trunk(const Llama& model, const runtime::TokenBatch& batch);

// hidden_states() by the engine, with gradients of the weights that want some: [B, T, D], 0 where there is no token. Padding is not
// computed. A token's states depend on nothing but the ids of its sequence, to the bit, and are those that generation computes.
at::Tensor trunk_states(const Llama& model, const runtime::TokenBatch& batch);

}  // namespace keel::policy
