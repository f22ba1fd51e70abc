// Pieces of work on a model, to be timed: random tokens, the sizes of small batches.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "policy/llama.h"

namespace keel::pipelines::forecast {

struct Workload {
  std::string name;
  double tokens = 0;  // that count: read, trained on, or written
  std::function<void()> run;
};

// Forward and backward pass of a step on two rows of 256 tokens a thread, every token a target; of the adapters where the model has some.
Workload training(const policy::Llama& model, int threads);
// The same of a reward model on four pairs a thread: prompts of 150 tokens, answers of 50.
Workload reward_training(const policy::Llama& model, int threads);
// Scores of `rows` rows of 64 to kLongestRow tokens.
Workload scoring(const policy::Llama& model, int64_t rows);
// `rows` answers of `new_tokens` tokens, written together. The weights are packed once, before the first run.
Workload writing(const policy::Llama& model, int64_t rows, int64_t prompt_tokens, int64_t new_tokens);

inline constexpr int64_t kLongestRow = 448;  // of these workloads, in tokens

double seconds_of(const Workload& work);  // one run

}  // namespace keel::pipelines::forecast
