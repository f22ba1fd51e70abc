#include "policy/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/where.h>

#include <numbers>

namespace keel::policy {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return at::rms_norm(x.to(at::kFloat), {x.size(-1)}, {}, eps).to(x.scalar_type()) * weight;
}

namespace {

// Llama 3.1's scaling. A pair that turns `high_freq_factor` times or more within the original context keeps its frequency, one that turns
// `low_freq_factor` times or less has it divided by the factor, and between the two the share of the undivided frequency rises linearly.
at::Tensor scaled_by_wavelength(const at::Tensor& frequencies, const RopeScaling& scaling) {
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const double low = scaling.low_freq_factor, high = scaling.high_freq_factor;
  const at::Tensor wavelengths = frequencies.reciprocal() * (2 * std::numbers::pi);  // in tokens
  const at::Tensor is_long = wavelengths > original / low;
  const at::Tensor divided = at::where(is_long, frequencies / scaling.factor, frequencies);
  const at::Tensor share = (wavelengths.reciprocal() * original - low) / (high - low);
  const at::Tensor mixed = (1 - share) * divided / scaling.factor + share * divided;
  return at::where(is_long.logical_or(wavelengths < original / high), divided, mixed);
}

}  // namespace

at::Tensor rotary_frequencies(const LlamaConfig& config, c10::Device device) {
  const int64_t size = config.head_size();
  const at::Tensor exponents = at::arange(0, size, 2, at::TensorOptions().dtype(at::kFloat).device(device)) / static_cast<double>(size);
  const at::Tensor plain = at::pow(config.rope_theta, exponents).reciprocal();
  switch (config.rope_scaling.kind) {
    case RopeKind::none:
      return plain;
    case RopeKind::linear:
      return plain / config.rope_scaling.factor;
    case RopeKind::llama3:
      return scaled_by_wavelength(plain, config.rope_scaling);
  }
  return plain;
}

Rotary rotary(const LlamaConfig& config, const at::Tensor& positions) {
  const at::Tensor frequencies = rotary_frequencies(config, positions.device());                // [h/2]
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
