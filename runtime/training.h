// The loop that pretraining, SFT and reward-model training share: batch, clip, AdamW, log, validate, checkpoint, resume.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "core/metrics.h"
#include "runtime/adamw.h"
#include "runtime/schedule.h"

namespace keel::runtime {

// Result of a step or a validation. Training reads the loss only; the metrics, which include the loss, are just logged.
struct Measured {
  double loss = 0;
  core::MetricRow metrics;
};

struct TrainingJob {
  std::string label;      // for progress and metrics: "sft"
  int64_t steps = 0;      // optimiser steps
  Parameters parameters;  // trained in place
  AdamWConfig optimizer;
  ScheduleConfig schedule;

  // Forward and backward of batch `step`: leaves the gradient of the batch's loss in the parameters (accumulated over its micro-batches
  // with one global normaliser).
  std::function<Measured(int64_t step)> accumulate;

  // Held-out measures, every `validate_every` steps and at the end; a lower loss is better. Empty: no validation, and the last weights are
  // kept. Otherwise the weights of the best validation are kept.
  std::function<Measured()> validate;
  int64_t validate_every = 0;
};

struct TrainingResult {
  int64_t best_step = 0;  // steps done when the kept weights were reached
  double best = 0;        // their held-out loss; NaN without validation
};

// Runs the job in `folder` (metrics.jsonl, TensorBoard events, ckpt/) from its last checkpoint if there is one. Weights and metrics are bit
// for bit those of an uninterrupted run on the same machine and thread count. Throws core::Interrupted after a checkpoint on SIGTERM.
TrainingResult run_training(const TrainingJob& job, const std::filesystem::path& folder);

}  // namespace keel::runtime
