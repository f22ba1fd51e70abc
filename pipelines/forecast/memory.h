// The memory of each kind of stage, in bytes at its peak: docs/performance.md, Memory.
#pragma once

#include "pipelines/forecast/forecast.h"

namespace keel::pipelines::forecast {

// `models` models that answer or score.
double scoring_bytes(const Run& run, double models);
// Keys and values of `rows` answers that are written together, prompts included.
double cache_bytes(const Run& run, int64_t rows, double tokens);

double tuning_bytes(const Run& run, const policy::BatchConfig& batch, const policy::LoraConfig& lora);
double reward_bytes(const Run& run);
double rejection_bytes(const Run& run);
double ppo_bytes(const Run& run);

}  // namespace keel::pipelines::forecast
