// One transformer block, shared by the training forward and by the cached decoder: only how attention finds its keys differs.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>

#include "policy/layers.h"
#include "policy/llama.h"

namespace keel::policy {

// x [B, T, D] -> [B, T, D]. `attend` takes q [B, H, T, h], k and v [B, G, T, h], all rotated, and returns the mixed values [B, H, T, h].
template <class Attend>
at::Tensor block(const LlamaLayer& layer, const LlamaConfig& config, const at::Tensor& x, const Rotary& rotary, Attend&& attend) {
  const auto heads = [&](const at::Tensor& weight, const at::Tensor& input) {
    return at::linear(input, weight).view({x.size(0), x.size(1), -1, config.head_size()}).transpose(1, 2);
  };
  const at::Tensor normed = rms_norm(x, layer.input_norm, config.rms_norm_eps);
  const at::Tensor mixed = attend(rotate(heads(layer.q, normed), rotary), rotate(heads(layer.k, normed), rotary), heads(layer.v, normed));
  const at::Tensor after = x + at::linear(mixed.transpose(1, 2).reshape({x.size(0), x.size(1), -1}), layer.o);
  return after + swiglu(rms_norm(after, layer.post_norm, config.rms_norm_eps), layer.gate, layer.up, layer.down);
}

}  // namespace keel::policy
