// Whitening, and the paper's whitened score R~ = whiten(logit(Rc)) (Llama 2 paper, 3.2.3).
//
// Whitened = (x - mean) / sqrt(population variance + epsilon), over all elements (or all true ones) of the whole batch, mean removed.
// Sums run in double: a constant input and a single element give 0, not noise.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "core/config.h"

namespace keel::ppo {

enum class WhitenScope { batch, deciding_model };
constexpr auto names(WhitenScope) {
  return std::to_array<core::Named<WhitenScope>>({{WhitenScope::batch, "batch"}, {WhitenScope::deciding_model, "deciding_model"}});
}

struct ScoreConfig {
  bool whiten = true;                             // paper: yes
  WhitenScope whiten_scope = WhitenScope::batch;  // not in the paper; all answers of an iteration is the plain reading
  double epsilon = 1e-8;                          // not in the paper; added to the variance, also of whitened advantages
  double logit_clamp = 1e-6;                      // not in the paper; keeps logit(0) and logit(1) finite: scores lie in +-13.8
};

inline void visit(ScoreConfig& config, core::Fields& fields) {
  fields("whiten", config.whiten, "shift and scale the scores of a batch to mean 0 and variance 1");
  fields("whiten_scope", config.whiten_scope,
         "answers that share mean and variance: all of a batch, or those that the safety model decides apart from the others");
  fields("epsilon", config.epsilon, "added to the variance, of scores and (whiten_advantages) of advantages", core::above(0.0));
  fields("logit_clamp", config.logit_clamp, "distance from 0 and 1 to which probabilities are clamped before the logit",
         core::between(1e-12, 0.5));
}

at::Tensor whiten(const at::Tensor& values, double epsilon);  // any shape; no elements give no elements

// As whiten(), with the mean and variance of the true elements alone; 0 where mask is false. `mask` has the shape of `values`.
at::Tensor masked_whiten(const at::Tensor& values, const at::Tensor& mask, double epsilon);

// log(p / (1 - p)) with p clamped to [clamp, 1 - clamp], in double.
at::Tensor logit(const at::Tensor& probability, double clamp);

// whiten(logit(Rc)) of a whole batch of answers: [B] probabilities -> [B] float scores. `safety_decides` [B] bool, true = Rc is the safety
// model's; read by the scope "deciding_model" alone, under which an answer without others of its kind scores 0. Throws c10::Error for a
// probability outside [0, 1] (a raw score given by mistake) or NaN.
at::Tensor shaped_scores(const at::Tensor& probability, const at::Tensor& safety_decides, const ScoreConfig& config);

}  // namespace keel::ppo
