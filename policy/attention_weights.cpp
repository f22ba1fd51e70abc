#include "policy/attention_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "policy/block.h"

namespace keel::policy {

std::vector<at::Tensor> attention_weights(const Llama& model, const core::Ids& ids, int64_t from) {
  const at::NoGradGuard no_grad;
  const auto tokens = static_cast<int64_t>(ids.size());
  TORCH_CHECK(from >= 0 && from < tokens, "[policy.attention_weights] from must be in [0, ", tokens, "), got ", from);
  TORCH_CHECK(tokens <= model.config.max_position_embeddings, "[policy.attention_weights] ", tokens,
              " tokens are more than the model's context of ", model.config.max_position_embeddings);
  const at::Tensor input = at::tensor(ids, at::kLong).to(model.embedding.device()).unsqueeze(0);
  const at::Tensor positions = at::arange(tokens, input.options()).unsqueeze(0);
  const Rotary turns = rotary(model.config, positions);
  const at::Tensor future = positions.unsqueeze(1) > at::arange(from, tokens, input.options()).view({1, -1, 1});  // [1, T - from, T]
  std::vector<at::Tensor> layers;
  const auto attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    const at::Tensor keys = k.repeat_interleave(q.size(1) / k.size(1), 1);  // [1, H, T, h]
    const at::Tensor scores =
        at::matmul(q.narrow(2, from, tokens - from), keys.transpose(2, 3)) / std::sqrt(static_cast<double>(q.size(3)));
    const at::Tensor weights = at::softmax(scores.to(at::kFloat).masked_fill(future, -std::numeric_limits<double>::infinity()), -1);
    layers.push_back(weights.mean(1).squeeze(0).cpu());
    return attention(q, k, v, {});
  };
  at::Tensor x = at::embedding(model.embedding, input);
  for (const auto& layer : model.layers)
    x = block(layer, model.config, x, turns, attend);
  return layers;
}

}  // namespace keel::policy
