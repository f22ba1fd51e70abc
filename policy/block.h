// One transformer block, shared by the training forward and by the cached decoder: only how attention finds its keys differs.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>

#include "policy/arithmetic.h"
#include "policy/layers.h"
#include "policy/llama.h"

namespace keel::policy {

// W x plus the adapter's part; the rank is small, so its two products cost little.
inline at::Tensor project(const at::Tensor& x, const at::Tensor& weight, const LowRank& adapter) {
  const at::ScalarType type = !x.is_cpu() && computes_in_bf16() ? at::kBFloat16 : x.scalar_type();
  const at::Tensor plain = at::linear(x.to(type), weight.to(type)).to(x.scalar_type());
  return adapter.a.defined() ? plain + adapter.scale * at::linear(at::linear(x, adapter.a), adapter.b) : plain;
}

// x [B, T, D] -> [B, T, D]. `attend` takes q [B, H, T, h], k and v [B, G, T, h], all rotated, and returns the mixed values [B, H, T, h].
template <class Attend>
at::Tensor block(const LlamaLayer& layer, const LlamaConfig& config, const at::Tensor& x, const Rotary& rotary, Attend&& attend) {
  const auto& adapters = layer.adapters;
  const auto heads = [&](const at::Tensor& input, const at::Tensor& weight, const LowRank& adapter) {
    return project(input, weight, adapter).view({x.size(0), x.size(1), -1, config.head_size()}).transpose(1, 2);
  };
  const at::Tensor normed = rms_norm(x, layer.input_norm, config.rms_norm_eps);
  const at::Tensor q = heads(normed, layer.q, adapters.q), k = heads(normed, layer.k, adapters.k);
  const at::Tensor mixed = attend(rotate(q, rotary), rotate(k, rotary), heads(normed, layer.v, adapters.v));
  const at::Tensor after = x + project(mixed.transpose(1, 2).reshape({x.size(0), x.size(1), -1}), layer.o, adapters.o);
  const at::Tensor inner = rms_norm(after, layer.post_norm, config.rms_norm_eps);
  const at::Tensor gated = swiglu(project(inner, layer.gate, adapters.gate), project(inner, layer.up, adapters.up));
  return after + project(gated, layer.down, adapters.down);
}

}  // namespace keel::policy
