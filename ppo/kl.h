// The penalty against the reference policy (Llama 2 paper, equation 4): estimators of KL(policy || reference) from samples of the policy
// (Schulman 2020, "Approximating KL divergence") and its coefficient, fixed or adaptive (Ziegler et al. 2019, arXiv 1909.08593, 2.2).
//
// Legend: B answers, T tokens. Log-probs and KL in nats.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "core/config.h"

namespace keel::ppo {

enum class KlEstimator { k1, k2, k3 };
constexpr auto names(KlEstimator) {
  return std::to_array<core::Named<KlEstimator>>({{KlEstimator::k1, "k1"}, {KlEstimator::k2, "k2"}, {KlEstimator::k3, "k3"}});
}

enum class KlPlacement { reward, loss };
constexpr auto names(KlPlacement) {
  return std::to_array<core::Named<KlPlacement>>({{KlPlacement::reward, "reward"}, {KlPlacement::loss, "loss"}});
}

enum class KlController { fixed, adaptive };
constexpr auto names(KlController) {
  return std::to_array<core::Named<KlController>>({{KlController::fixed, "fixed"}, {KlController::adaptive, "adaptive"}});
}

struct KlConfig {
  KlEstimator estimator = KlEstimator::k1;      // the paper does not say; k1 is the log-ratio of its equation 4
  KlPlacement placement = KlPlacement::reward;  // paper: equation 4
  double coefficient = 0.01;                    // paper: 0.01 for 7B and 13B, 0.005 for 34B and 70B
  KlController controller = KlController::fixed;
  double target = 6;       // Ziegler et al.; read by the adaptive controller alone
  double horizon = 10000;  // answers, likewise
};

inline void visit(KlConfig& config, core::Fields& fields) {
  fields("estimator", config.estimator, "k1 = log pi - log ref, k2 = k1^2 / 2, k3 = exp(-k1) - 1 + k1");
  fields("placement", config.placement,
         "in the reward of each token, or in the policy's loss, differentiated (there k1 is refused: its gradient has mean 0)");
  fields("coefficient", config.coefficient, "beta, weight of the KL penalty; start value of an adaptive one", core::at_least(0.0));
  fields("controller", config.controller, "whether beta stays or follows the measured KL");
  fields("target", config.target, "KL per answer that the adaptive controller aims at, nats", core::above(0.0));
  fields("horizon", config.horizon, "answers over which the adaptive controller acts", core::above(0.0));
}

// Estimates per token, [B, T] float; both inputs [B, T] float. Where they are equal all three estimators are exactly 0.
at::Tensor kl_per_token(const at::Tensor& logprobs, const at::Tensor& reference_logprobs, const KlConfig& config);

// The penalty as a term of the policy's loss: beta * (sum of the estimates at the true tokens) / tokens, `tokens` being the true tokens of
// the whole optimiser step, as in ppo/losses.h. The penalty in the reward has this scale only without whitened advantages: whitening
// divides the advantages, penalty included, by their standard deviation. The loss is not divided. With gradients through `logprobs` [B, T]
// alone; `reference_logprobs` [B, T]; mask [B, T] bool. 0-dim.
//
// Expected gradient at each token, over answers of the policy itself. k2: (log pi - log ref) grad log pi, that of KL(policy || reference)
// between the distributions of the next token. k3: (1 - ref / pi) grad log pi, that of KL(reference || policy). k1: grad log pi, whose mean
// is exactly 0: as a loss it is noise, not a penalty. Prefixes count as fixed: a token's effect on the KL of later tokens is missing; only
// the penalty in the reward includes it.
at::Tensor kl_loss(const at::Tensor& logprobs, const at::Tensor& reference_logprobs, const at::Tensor& mask, int64_t tokens, double beta,
                   const KlConfig& config);

// The adaptive coefficient clips the relative error of the KL to +- this (Ziegler et al. 2019, 2.2).
inline constexpr double kMostKlError = 0.2;

// The coefficient after a batch of `answers` whose KL, summed over tokens, has the mean `kl_per_answer`:
// beta * (1 + clip(kl / target - 1, +-kMostKlError) * answers / horizon) when adaptive, else beta.
double next_kl_coefficient(double coefficient, double kl_per_answer, int64_t answers, const KlConfig& config);

}  // namespace keel::ppo
