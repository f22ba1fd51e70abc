// The arithmetic of each kind of stage.
#pragma once

#include "pipelines/forecast/forecast.h"

namespace keel::pipelines::forecast {

Work pretraining_work(const Run& run);
Work sft_work(const Run& run);
Work comparison_work(const Run& run, const recipe::Version& version);
Work gatt_work(const Run& run);
Work distillation_work(const Run& run);
Work rejection_work(const Run& run, const recipe::Version& version);
Work ppo_work(const Run& run);
Work evaluation_work(const Run& run);
Work best_of_work(const Run& run);
Work retention_work(const Run& run);

// `chooses`: the new model and one before it are compared on the held-out pairs.
Work reward_work(const Run& run, const PairRows& own, const Rows& others, double rest_share, bool chooses);

// Pairs of a kind that a version's reward models learn from: those of all batches so far, also of those that are yet to be collected.
PairRows pairs_until(const Run& run, const recipe::Version& version, recipe::SourceKind kind);

double reward_models(const Run& run);  // that score every answer of the evaluation
double row_length(const Run& run);     // of a prompt with its answer, in tokens, on average

}  // namespace keel::pipelines::forecast
