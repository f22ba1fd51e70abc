// Reward-model training (Llama 2 paper, 3.2.2): one epoch over preference pairs, cosine schedule, both answers of a pair in one batch.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/types.h"
#include "policy/lora.h"
#include "reward/ranking_loss.h"
#include "reward/training_plan.h"
#include "runtime/batch.h"

namespace keel::reward {

struct RewardTrainConfig : HeadTrainConfig {
  RewardLossConfig loss;
  int64_t epochs = 1;         // paper: longer training overfits
  int64_t batch_pairs = 512;  // paper: 512 pairs = 1024 rows
  int64_t micro_pairs = 32;
  int64_t micro_tokens = 1024;  // docs/performance.md, Memory
  bool gradient_checkpointing = false;
  policy::LoraConfig lora;
};

inline void visit(RewardTrainConfig& config, core::Fields& fields) {
  fields.section("loss", config.loss, "ranking loss and its additions");
  fields("epochs", config.epochs, "passes over the pairs", core::at_least(1));
  fields("batch_pairs", config.batch_pairs, "pairs an optimiser step", core::at_least(1));
  fields("micro_pairs", config.micro_pairs, "pairs a forward pass; memory against speed, same result", core::at_least(1));
  fields("micro_tokens", config.micro_tokens,
         "most tokens a forward pass, both sides of each pair padded (or one pair); limits micro_pairs, same result", core::at_least(1));
  policy::gradient_checkpointing_field(config.gradient_checkpointing, fields);
  visit(static_cast<HeadTrainConfig&>(config), fields);
  fields.section("lora", config.lora, "adapters on frozen weights; the scalar head is trained whole");
}

// Every violated rule between the fields.
std::vector<std::string> problems_of(const RewardTrainConfig& config);

// Problems with this model shape.
std::vector<std::string> problems_with(const RewardTrainConfig& config, const policy::LlamaConfig& shape);

// Groups of neighbouring `pairs` for one forward pass: at most micro_pairs pairs and micro_tokens tokens, counted as if every side were
// padded to the longest (a prompt that is computed once takes less), or one pair.
std::vector<runtime::RowRange> micro_batches(std::span<const core::TokenPair> pairs, const RewardTrainConfig& config);

// What train_reward_model() trains, from a language model: a copy of its weights or, with lora.rank, fresh adapters on the weights
// themselves, whose storage is shared; from the random stream (seed, "reward.lora"). Throws core::ConfigError.
RewardModel reward_start(const policy::Llama& model, const RewardTrainConfig& config, uint64_t seed);

// Trains `model` in place, its adapters and head where it has adapters, on `pairs` (each epoch in a random order of its own, keyed by
// (seed, "reward.order", epoch)) and keeps the last weights: one epoch leaves nothing to choose. Metrics under TRL's names. Throws as
// runtime::run_training, core::ConfigError where problems_of() finds one, and c10::Error when there are no pairs or ids do not fit the
// model.
void train_reward_model(const RewardModel& model, const std::vector<core::TokenPair>& pairs, const RewardTrainConfig& config, uint64_t seed,
                        const std::filesystem::path& folder, const std::string& label = "reward");

}  // namespace keel::reward
