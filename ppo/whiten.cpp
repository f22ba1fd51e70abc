#include "ppo/whiten.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

namespace keel::ppo {

at::Tensor whiten(const at::Tensor& values, double epsilon) {
  return masked_whiten(values, at::ones_like(values, values.options().dtype(at::kBool)), epsilon);
}

at::Tensor masked_whiten(const at::Tensor& values, const at::Tensor& mask, double epsilon) {
  TORCH_CHECK(values.sizes() == mask.sizes() && mask.scalar_type() == at::kBool,
              "[ppo.whiten] mask must be bool and of the shape of values, ", values.sizes(), ", got ", mask.sizes(), " ",
              mask.scalar_type());
  const at::Tensor exact = values.to(at::kDouble);
  const at::Tensor zero = at::zeros_like(exact);
  const auto count = static_cast<double>(std::max<int64_t>(mask.sum().item<int64_t>(), 1));
  const at::Tensor mean = at::where(mask, exact, zero).sum() / count;
  const at::Tensor centred = at::where(mask, exact - mean, zero);
  const at::Tensor variance = centred.square().sum() / count;
  return (centred / (variance + epsilon).sqrt()).to(values.scalar_type());
}

at::Tensor logit(const at::Tensor& probability, double clamp) {
  const at::Tensor inside = probability.to(at::kDouble).clamp(clamp, 1 - clamp);
  return at::log(inside) - at::log1p(-inside);
}

at::Tensor shaped_scores(const at::Tensor& probability, const at::Tensor& safety_decides, const ScoreConfig& config) {
  TORCH_CHECK(((probability >= 0) & (probability <= 1)).all().item<bool>(),
              "[ppo.scores] Rc must be probabilities in [0, 1] (sigmoid of a raw score), got ", probability);
  const at::Tensor scores = logit(probability, config.logit_clamp);
  if (!config.whiten) return scores.to(at::kFloat);
  if (config.whiten_scope == WhitenScope::batch) return whiten(scores, config.epsilon).to(at::kFloat);
  // Each term is 0 where the other is not.
  return (masked_whiten(scores, safety_decides, config.epsilon) + masked_whiten(scores, ~safety_decides, config.epsilon)).to(at::kFloat);
}

}  // namespace keel::ppo
