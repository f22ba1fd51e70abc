#pragma once

#include "policy/llama.h"
#include "runtime/batch.h"

namespace keel::policy {

// hidden_states() by the engine, with gradients of the weights and adapters that want some: [B, T, D], 0 where there is no token. Padding
// is not computed. A token's states depend on nothing but the ids of its sequence, to the bit, and are those that generation computes. The
// model is one that engine_takes(), and the batch has no mask of its own (`keep`).
at::Tensor trunk_states(const Llama& model, const runtime::TokenBatch& batch);

}  // namespace keel::policy
