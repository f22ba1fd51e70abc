#include "ppo/gae.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace keel::ppo {

Advantages generalised_advantages(const at::Tensor& rewards, const at::Tensor& values, const at::Tensor& response_mask,
                                  const GaeConfig& config) {
  TORCH_CHECK(rewards.dim() == 2 && rewards.sizes() == values.sizes() && rewards.sizes() == response_mask.sizes(),
              "[ppo.gae] rewards, values and response_mask must share one shape [B, T], got ", rewards.sizes(), ", ", values.sizes(),
              " and ", response_mask.sizes(), "; all three come from one rollout");

  at::Tensor advantages = at::zeros_like(rewards);
  at::Tensor next_value = at::zeros({rewards.size(0)}, values.options());  // [B], V of the next true token
  at::Tensor next_advantage = at::zeros_like(next_value);                  // [B], its advantage
  for (int64_t t = rewards.size(1) - 1; t >= 0; --t) {
    const at::Tensor keep = response_mask.select(1, t);
    const at::Tensor value = values.select(1, t);
    const at::Tensor delta = rewards.select(1, t) + config.gamma * next_value - value;
    const at::Tensor advantage = delta + config.gamma * config.lambda * next_advantage;
    advantages.select(1, t).copy_(at::where(keep, advantage, at::zeros_like(advantage)));
    next_value = at::where(keep, value, next_value);
    next_advantage = at::where(keep, advantage, next_advantage);
  }
  return {advantages, at::where(response_mask, advantages + values, at::zeros_like(values))};
}

}  // namespace keel::ppo
