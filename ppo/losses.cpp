#include "ppo/losses.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <initializer_list>

namespace keel::ppo {

namespace {

void check_loss_inputs(const char* name, std::initializer_list<at::Tensor> inputs, const at::Tensor& mask, int64_t tokens) {
  TORCH_CHECK(mask.dim() == 2 && mask.scalar_type() == at::kBool, "[ppo.", name, "] mask must be bool [B, T], got ", mask.sizes(), " ",
              mask.scalar_type());
  for (const at::Tensor& input : inputs) {
    TORCH_CHECK(input.sizes() == mask.sizes(), "[ppo.", name, "] all inputs must have the mask's shape ", mask.sizes(), ", got ",
                input.sizes());
  }
  const auto here = mask.sum().item<int64_t>();
  TORCH_CHECK(tokens >= here, "[ppo.", name, "] tokens must count the true tokens of the whole step, got ", tokens, " for ", here,
              " tokens here");
}

// Masked before any arithmetic: an infinity outside the mask would become 0 * infinity in the gradient.
at::Tensor zero_outside(const at::Tensor& values, const at::Tensor& mask) {
  return at::where(mask, values, at::zeros_like(values));
}

}  // namespace

at::Tensor masked_sum(const at::Tensor& values, const at::Tensor& mask, int64_t tokens) {
  return zero_outside(values, mask).sum() / static_cast<double>(std::max<int64_t>(tokens, 1));
}

PolicyLoss policy_loss(const at::Tensor& logprobs, const at::Tensor& old_logprobs, const at::Tensor& advantages, const at::Tensor& mask,
                       int64_t tokens, const LossConfig& config) {
  check_loss_inputs("policy_loss", {logprobs, old_logprobs, advantages}, mask, tokens);
  const at::Tensor log_ratio = zero_outside(logprobs - old_logprobs, mask);
  const at::Tensor ratio = log_ratio.exp();
  const at::Tensor advantage = zero_outside(advantages, mask);
  const at::Tensor free = -advantage * ratio;
  const at::Tensor clipped = -advantage * ratio.clamp(1 - config.policy_clip, 1 + config.policy_clip);
  const at::Tensor offset = ratio.detach() - 1;
  return {masked_sum(at::maximum(free, clipped), mask, tokens), masked_sum(log_ratio.detach().square() / 2, mask, tokens),
          masked_sum((clipped > free).to(at::kFloat), mask, tokens), masked_sum(ratio.detach(), mask, tokens),
          masked_sum(offset.square(), mask, tokens)};
}

ValueLoss value_loss(const at::Tensor& values, const at::Tensor& old_values, const at::Tensor& returns, const at::Tensor& mask,
                     int64_t tokens, const LossConfig& config) {
  check_loss_inputs("value_loss", {values, old_values, returns}, mask, tokens);
  const at::Tensor value = zero_outside(values, mask);
  const at::Tensor old_value = zero_outside(old_values, mask);
  const at::Tensor target = zero_outside(returns, mask);
  const at::Tensor near_old = at::maximum(value, old_value - config.value_clip).minimum(old_value + config.value_clip);
  const at::Tensor free = (value - target).square();
  const at::Tensor clipped = (near_old - target).square();
  return {config.value_weight * masked_sum(at::maximum(free, clipped), mask, tokens),
          masked_sum((clipped > free).to(at::kFloat), mask, tokens)};
}

}  // namespace keel::ppo
