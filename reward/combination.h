// One reward from two models (Llama 2 paper, 3.2.3): the safety score decides where the prompt is about safety or the answer is unsafe.
#pragma once

#include "core/config.h"

namespace keel::reward {

struct CombinationConfig {
  double gate_threshold = 0.15;  // paper: precision 0.89, recall 0.55 for unsafe answers on its safety test set
};

inline void visit(CombinationConfig& config, core::Fields& fields) {
  fields("gate_threshold", config.gate_threshold, "safety probability below which an answer is scored by the safety model alone",
         core::between(0.0, 1.0));
}

// sigmoid(logit): the paper's score in (0, 1) of a reward model's raw score.
double probability(double logit);

// True when Rc is Rs: the prompt is about safety, or sigmoid(safety_logit) < gate_threshold.
bool safety_decides(double safety_logit, bool is_safety_prompt, const CombinationConfig& config);

// Rc = Rs if is_safety_prompt or Rs < gate_threshold, else Rh. Takes both raw scores (logits) and returns the probability Rc in [0, 1]: the
// threshold is a probability (0.15 is a raw score of -1.7346). Throws c10::Error when a score is not finite.
double combined_probability(double helpfulness_logit, double safety_logit, bool is_safety_prompt, const CombinationConfig& config);

}  // namespace keel::reward
