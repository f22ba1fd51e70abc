// Supervised fine-tuning (paper 3.1): demonstrations packed into rows, loss on answer tokens only.
#pragma once

#include "policy/language_model_training.h"

namespace keel::policy {

struct SftConfig {
  int64_t epochs = 2;
  int64_t steps = 0;  // > 0: this many optimiser steps whatever the amount of data (paper 3.2.3: the same number in every iteration)
  BatchConfig batch;
  runtime::AdamWConfig optimizer;
  runtime::ScheduleConfig schedule{.learning_rate = 2e-5};
};

inline void visit(SftConfig& config, core::Fields& fields) {
  fields("epochs", config.epochs, "passes over the data", core::at_least(1));
  fields("steps", config.steps, "optimiser steps instead of epochs; 0 = by epochs", core::at_least(0));
  fields.section("batch", config.batch, "rows and packing");
  fields.section("optimizer", config.optimizer, "AdamW");
  fields.section("schedule", config.schedule, "learning rate");
}

// Settings that are set but have no effect.
std::vector<std::string> problems_of(const SftConfig& config);

// Rows of the whole run: each epoch's sequences in a random order of its own, packed.
RowPlan plan_epochs(const std::vector<core::TokenSequence>& sequences, const SftConfig& config, uint64_t seed);

// Trains `model` in place. No sequence may be longer than batch.row_tokens.
runtime::TrainingResult train_sft(const Llama& model, const std::vector<core::TokenSequence>& train,
                                  const std::vector<core::TokenSequence>& validation, const SftConfig& config, uint64_t seed,
                                  const std::filesystem::path& folder, const std::string& label = "sft");

}  // namespace keel::policy
