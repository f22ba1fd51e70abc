#include "ppo/rewards.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace keel::ppo {

at::Tensor scores_with_eos_rule(const at::Tensor& scores, const at::Tensor& finished, const RewardShapeConfig& config) {
  return config.missing_eos_penalty == 0 ? scores : at::where(finished, scores, scores - config.missing_eos_penalty);
}

at::Tensor token_rewards(const at::Tensor& kl, const at::Tensor& scores, const at::Tensor& last_action_index,
                         const at::Tensor& response_mask, double beta) {
  TORCH_CHECK(kl.dim() == 2 && kl.sizes() == response_mask.sizes() && scores.dim() == 1 && scores.size(0) == kl.size(0) &&
                  last_action_index.sizes() == scores.sizes(),
              "[ppo.rewards] kl and response_mask must be [B, T], scores and last_action_index [B], got ", kl.sizes(), ", ",
              response_mask.sizes(), ", ", scores.sizes(), " and ", last_action_index.sizes());
  const at::Tensor position = at::arange(kl.size(1), last_action_index.options()).unsqueeze(0);  // [1, T]
  const at::Tensor last_true = at::where(response_mask, position, at::full_like(position, -1)).amax(1);
  TORCH_CHECK((last_true >= 0).all().item<bool>(),
              "[ppo.rewards] every answer needs a token, rows without one: ", (last_true < 0).nonzero().flatten());
  TORCH_CHECK((last_true == last_action_index).all().item<bool>(),
              "[ppo.rewards] last_action_index must be the last true token of each row, ", last_true, ", got ", last_action_index);

  const at::Tensor penalty = at::where(response_mask, -beta * kl, at::zeros_like(kl));
  return penalty.scatter_add(1, last_action_index.unsqueeze(1), scores.unsqueeze(1).to(kl.scalar_type()));
}

}  // namespace keel::ppo
