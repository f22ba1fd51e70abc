// Rejection sampling (Llama 2 paper, 3.2.3): of K answers to a prompt, the one with the highest reward becomes training data.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"
#include "rejection_sampling/config.h"

namespace keel::rejection_sampling {

// Probabilities of the first n answers to each prompt (paper, figure 7: the maximum grows with n, the median does not).
struct BestOfFirst {
  int64_t answers = 0;                  // n
  std::vector<double> maximum, median;  // one a prompt, ascending by prompt
};

struct Selection {
  std::vector<core::ScoredSample> best;  // one a prompt, ascending by prompt; equal probabilities: the lowest sample index
  std::vector<int64_t> unfinished;       // prompts left out because none of their answers ended by itself
  std::vector<BestOfFirst> statistics;   // n = 1..K, over all answers, finished or not
};

// `samples` in any order; every prompt must have the same number K of answers, numbered 0..K-1. Throws core::UsageError otherwise and for a
// probability outside [0, 1] (a raw score given by mistake) or NaN.
Selection select_best(std::vector<core::ScoredSample> samples, const SelectionConfig& config);

// A kept answer for fine-tuning: the ids as they were generated, and their origin.
struct KeptAnswer {
  core::Ids prompt, answer;
  double probability = 0;  // by which it was chosen
  int64_t version = 1;     // of the model that wrote it: 1 = the one that V1 was made from
};

// The kept answers of several versions as one pool (paper: from V4 on), without exact duplicates; the first of equal ones stays.
std::vector<KeptAnswer> pool_of(const std::vector<std::vector<KeptAnswer>>& versions);

// Prompt and answer as SFT reads them: the loss is on the answer's ids.
core::TokenSequence training_sequence(const core::Ids& prompt, const core::Ids& answer);

}  // namespace keel::rejection_sampling
