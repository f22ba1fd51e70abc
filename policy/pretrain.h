// Pretraining on a weighted mixture of sources (paper 2.1: the most factual sources are up-sampled).
#pragma once

#include "policy/language_model_training.h"

namespace keel::policy {

struct PretrainConfig {
  int64_t tokens = 2'000'000'000'000;  // budget of the run
  std::vector<std::string> upsample;   // the paper up-samples its most factual sources and does not say by how much
  BatchConfig batch{.batch_rows = 1024, .row_tokens = 4096, .micro_rows = 1, .validate_every = 0};
  runtime::AdamWConfig optimizer;
  runtime::ScheduleConfig schedule{.learning_rate = 3e-4, .warmup_steps = 2000};
};

inline void visit(PretrainConfig& config, core::Fields& fields) {
  fields("tokens", config.tokens, "training tokens of the whole run", core::at_least(1));
  fields("upsample", config.upsample,
         "sources drawn from more (or less) often than their size asks for, as \"source=factor\"; all others have factor 1");
  fields.section("batch", config.batch, "rows and packing");
  fields.section("optimizer", config.optimizer, "AdamW");
  fields.section("schedule", config.schedule, "learning rate");
}

// Settings that are set but have no effect.
std::vector<std::string> problems_of(const PretrainConfig& config);

struct Source {
  std::string name;
  double weight = 1;               // share of the tokens drawn from it, relative to the other sources
  std::vector<int64_t> sequences;  // indices of its documents
};

// Weighs each source by its tokens times its factor in `upsample`. Throws core::ConfigError for an entry that is no "source=factor" with a
// factor of at least 0 and for a source that the corpus does not have.
void weigh_sources(std::vector<Source>& sources, const std::vector<core::TokenSequence>& sequences,
                   const std::vector<std::string>& upsample);

// Rows of the whole run. Documents come from the source whose drawn tokens lag its share most; each source goes through its documents in a
// new random order in each pass. Documents longer than a row must have been split (split_document).
RowPlan plan_mixture(const std::vector<core::TokenSequence>& sequences, const std::vector<Source>& sources, const PretrainConfig& config,
                     uint64_t seed);

// A document as sequences of at most `row_tokens` ids with every id a target.
std::vector<core::TokenSequence> split_document(const core::Ids& ids, int64_t row_tokens);

runtime::TrainingResult train_pretrain(const Llama& model, const std::vector<core::TokenSequence>& sequences,
                                       const std::vector<Source>& sources, const std::vector<core::TokenSequence>& validation,
                                       const PretrainConfig& config, uint64_t seed, const std::filesystem::path& folder);

}  // namespace keel::policy
