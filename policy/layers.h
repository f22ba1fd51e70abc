// The pieces of a Llama block as functions. Legend as in llama.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "policy/config.h"

namespace keel::policy {

// x / sqrt(mean(x^2) + eps) * weight over the last dimension, computed in fp32.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Radians by which a step of one position turns each pair, [h/2] fp32: theta^(-2i/h), lowered by the model's rope scaling as transformers 5
// lowers it, in the same order of operations.
at::Tensor rotary_frequencies(const LlamaConfig& config, c10::Device device = c10::kCPU);

// cos and sin of the rotary embedding, [..., h] for int64 positions [...]: angle of pair i = position * frequency i, both halves alike.
struct Rotary {
  at::Tensor cos, sin;  // [B, 1, T, h] fp32, ready for [B, heads, T, h]
};
Rotary rotary(const LlamaConfig& config, const at::Tensor& positions);  // positions [B, T]

// Rotates pairs (i, i + h/2) of x [B, heads, T, h], computed in fp32; of the dtype of x.
at::Tensor rotate(const at::Tensor& x, const Rotary& rotary);

// Which positions may attend where: [B, 1, T, T] bool, true = same segment and not in the future.
at::Tensor segment_mask(const at::Tensor& segments);  // segments [B, T]

// softmax(q k^T / sqrt(h)) v with each key/value head serving H/G query heads.
//   q     [B, H, T, h];  k, v  [B, G, S, h]
//   keep  bool, broadcastable to [B, 1, T, S], true = may attend; undefined = causal (T == S)
// Returns [B, H, T, h].
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& keep);

// silu(gate) * up, the gated inside of a SwiGLU feed-forward layer; all [..., F].
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace keel::policy
