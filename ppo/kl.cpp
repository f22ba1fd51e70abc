#include "ppo/kl.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "ppo/losses.h"

namespace keel::ppo {

at::Tensor kl_per_token(const at::Tensor& logprobs, const at::Tensor& reference_logprobs, const KlConfig& config) {
  TORCH_CHECK(logprobs.sizes() == reference_logprobs.sizes(), "[ppo.kl] both log-probs must share one shape [B, T], got ", logprobs.sizes(),
              " and ", reference_logprobs.sizes());
  const at::Tensor k1 = logprobs - reference_logprobs;  // never clamped: that would hide how far the policy went
  if (config.estimator == KlEstimator::k2) return k1.square() / 2;
  if (config.estimator == KlEstimator::k3) return (-k1).expm1() + k1;
  return k1;
}

at::Tensor kl_loss(const at::Tensor& logprobs, const at::Tensor& reference_logprobs, const at::Tensor& mask, int64_t tokens, double beta,
                   const KlConfig& config) {
  // Masked before any arithmetic, as in ppo/losses.cpp.
  const auto kept = [&](const at::Tensor& values) { return at::where(mask, values, at::zeros_like(values)); };
  return beta * masked_sum(kl_per_token(kept(logprobs), kept(reference_logprobs).detach(), config), mask, tokens);
}

double next_kl_coefficient(double coefficient, double kl_per_answer, int64_t answers, const KlConfig& config) {
  if (config.controller == KlController::fixed) return coefficient;
  const double error = std::clamp(kl_per_answer / config.target - 1, -kMostKlError, kMostKlError);
  return coefficient * (1 + error * static_cast<double>(answers) / config.horizon);
}

}  // namespace keel::ppo
