// Supervised fine-tuning (paper 3.1): demonstrations packed into rows, loss on answer tokens only.
#pragma once

#include "policy/language_model_training.h"
#include "policy/lora.h"

namespace keel::policy {

struct SftConfig {
  int64_t epochs = 2;
  int64_t steps = 0;  // > 0: this many optimiser steps whatever the amount of data (paper 3.2.3: the same number in every iteration)
  BatchConfig batch;
  runtime::AdamWConfig optimizer;
  runtime::ScheduleConfig schedule{.learning_rate = 2e-5};
  LoraConfig lora;
};

inline void visit(SftConfig& config, core::Fields& fields) {
  fields("epochs", config.epochs, "passes over the data", core::at_least(1));
  fields("steps", config.steps, "optimiser steps instead of epochs; 0 = by epochs", core::at_least(0));
  fields.section("batch", config.batch, "rows and packing");
  fields.section("optimizer", config.optimizer, "AdamW");
  fields.section("schedule", config.schedule, "learning rate");
  fields.section("lora", config.lora, "adapters on frozen weights");
}

// Settings that are set but have no effect, and rules that they break.
std::vector<std::string> problems_of(const SftConfig& config);

// Problems with this model shape.
std::vector<std::string> problems_with(const SftConfig& config, const LlamaConfig& shape);

// Rows of the whole run: each epoch's sequences in a random order of its own, packed.
RowPlan plan_epochs(const std::vector<core::TokenSequence>& sequences, const SftConfig& config, uint64_t seed);

// What train_sft() trains: `model` itself or, with lora.rank, fresh adapters on its weights, whose storage is shared. Their first values
// come from the random stream (seed, "LABEL.lora"). Throws core::ConfigError.
Llama sft_start(const Llama& model, const SftConfig& config, uint64_t seed, const std::string& label = "sft");

// Trains `model`, which sft_start() made, in place: its adapters where it has some, else all weights. No sequence may be longer than
// batch.row_tokens.
runtime::TrainingResult train_sft(const Llama& model, const std::vector<core::TokenSequence>& train,
                                  const std::vector<core::TokenSequence>& validation, const SftConfig& config, uint64_t seed,
                                  const std::filesystem::path& folder, const std::string& label = "sft");

}  // namespace keel::policy
