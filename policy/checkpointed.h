#pragma once

#include <functional>

#include "policy/llama.h"

namespace keel::policy {

// compute(layer, x), of which the backward pass keeps the layer and x alone and computes the rest once more. On any device, by plain
// operators; the engine has a way of its own (engine/trunk.h). `compute` is copied.
at::Tensor checkpointed(const LlamaLayer& layer, const at::Tensor& x,
                        const std::function<at::Tensor(const LlamaLayer& layer, const at::Tensor& x)>& compute);

}  // namespace keel::policy
