// Next-token training on packed rows: what pretraining and SFT share. They differ in the rows they plan and in the loss masks.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/types.h"
#include "policy/llama.h"
#include "runtime/training.h"

namespace keel::policy {

struct BatchConfig {
  int64_t batch_rows = 64;    // packed rows an optimiser step
  int64_t row_tokens = 4096;  // tokens a packed row
  int64_t micro_rows = 1;     // rows a forward pass; changes memory, not the result
  bool gradient_checkpointing = false;
  int64_t validate_every = 0;  // optimiser steps; 0 = only at the end
};

inline void visit(BatchConfig& config, core::Fields& fields) {
  fields("batch_rows", config.batch_rows, "packed rows an optimiser step", core::at_least(1));
  fields("row_tokens", config.row_tokens, "tokens a packed row", core::at_least(2));
  fields("micro_rows", config.micro_rows, "rows a forward pass; memory against speed, same result", core::at_least(1));
  gradient_checkpointing_field(config.gradient_checkpointing, fields);
  fields("validate_every", config.validate_every, "optimiser steps between validations; 0 = only at the end", core::at_least(0));
}

// Settings that nothing reads where no rows are held out.
std::vector<std::string> problems_without_held_out(const BatchConfig& batch);

using RowPlan = std::vector<std::vector<int64_t>>;  // rows of sequence indices

struct LanguageModelJob {
  std::string label;  // "pretrain" | "sft"
  const std::vector<core::TokenSequence>& sequences;
  RowPlan rows;  // of the whole run; step s takes rows s * batch_rows .. (s + 1) * batch_rows - 1
  const std::vector<core::TokenSequence>& validation;
  BatchConfig batch;
  runtime::AdamWConfig optimizer;
  runtime::ScheduleConfig schedule;
};

// Trains the adapters of `model` or, where it has none, all its weights.
// Loss: -1/N sum over the N targets of a batch of log p(target): the normaliser is the batch's, whatever the micro-batches are.
// Logs "loss" (nats a target) and "tokens"; validation logs "eval_loss" and keeps the best weights.
runtime::TrainingResult train_language_model(const Llama& model, const LanguageModelJob& job, const std::filesystem::path& folder);

// Mean negative log-likelihood of the masked targets, nats.
double mean_loss(const Llama& model, const std::vector<core::TokenSequence>& sequences, const BatchConfig& config);

}  // namespace keel::policy
