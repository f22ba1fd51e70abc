#include "policy/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

namespace keel::policy {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return at::rms_norm(x.to(at::kFloat), {x.size(-1)}, {}, eps).to(x.scalar_type()) * weight;
}

Rotary rotary(const LlamaConfig& config, const at::Tensor& positions) {
  const int64_t size = config.head_size();
  const auto options = at::TensorOptions().dtype(at::kFloat).device(positions.device());
  const at::Tensor exponents = at::arange(0, size, 2, options) / static_cast<double>(size);
  const at::Tensor frequencies = at::pow(config.rope_theta, exponents).reciprocal();            // [h/2]
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1).unsqueeze(-1) * frequencies;  // [B, 1, T, h/2]
  const at::Tensor both = at::cat({angles, angles}, -1);
  return {both.cos(), both.sin()};
}

at::Tensor rotate(const at::Tensor& x, const Rotary& rotary) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor turned = at::cat({-x.narrow(-1, half, half), x.narrow(-1, 0, half)}, -1);
  return (x * rotary.cos + turned * rotary.sin).to(x.scalar_type());  // else queries and keys would be fp32 and values bf16
}

at::Tensor segment_mask(const at::Tensor& segments) {
  const int64_t tokens = segments.size(1);
  const at::Tensor past = at::ones({tokens, tokens}, segments.options().dtype(at::kBool)).tril();
  return (segments.unsqueeze(2) == segments.unsqueeze(1)).logical_and(past).unsqueeze(1);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& keep) {
  const int64_t group = q.size(1) / k.size(1);
  const bool causal = !keep.defined();
  const std::optional<at::Tensor> mask = causal ? std::nullopt : std::optional(keep);
  if (group > 1 && q.size(2) == 1) {
    // One query token: the query heads that share a key head are the rows of one small attention, so keys need no copies.
    const at::Tensor grouped = q.reshape({q.size(0), k.size(1), group, q.size(3)});
    return at::scaled_dot_product_attention(grouped, k, v, mask, 0.0, false).reshape(q.sizes());
  }
  const auto spread = [&](const at::Tensor& x) { return group > 1 ? x.repeat_interleave(group, 1) : x; };
  return at::scaled_dot_product_attention(q, spread(k), spread(v), mask, 0.0, causal);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

}  // namespace keel::policy
