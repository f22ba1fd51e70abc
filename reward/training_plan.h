// What the trainings of a scalar head have in common: the order of their items, the weights that learn, the schedule.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "reward/model.h"
#include "runtime/training.h"

namespace keel::reward {

// Items 0..count-1, once an epoch, each epoch in a random order of its own keyed by (seed, purpose, epoch). core::ConfigError for more
// items in all than one run can plan. `what` names them there.
std::vector<int64_t> order_of_epochs(int64_t count, int64_t epochs, uint64_t seed, std::string_view purpose, std::string_view what);

struct HeadTrainConfig {
  HeadStart head = HeadStart::normal;  // not in the paper
  double learning_rate = 1e-5;         // paper: 5e-6 for 70B, 1e-5 for the others
  double final_ratio = 0.1;            // paper
  double warmup_share = 0.03;          // paper
  int64_t warmup_min_steps = 5;        // paper
  int64_t frozen_layers = 0;           // paper: none
  runtime::AdamWConfig optimizer;
};

inline void visit(HeadTrainConfig& config, core::Fields& fields) {
  fields("head", config.head, "first weights of the scalar head: N(0, s) with s = 1 / (hidden size + 1), or zeros");
  fields("learning_rate", config.learning_rate, "peak of the cosine schedule", core::at_least(0));
  fields("final_ratio", config.final_ratio, "last learning rate as a share of the peak", core::between(0, 1));
  fields("warmup_share", config.warmup_share, "linear warm-up as a share of all steps", core::between(0, 1));
  fields("warmup_min_steps", config.warmup_min_steps, "shortest warm-up in steps, up to a fifth of all steps", core::at_least(0));
  fields("frozen_layers", config.frozen_layers,
         "lowest transformer blocks that stay as they are, with the embedding below them: cheaper by their backward pass",
         core::at_least(0));
  fields.section("optimizer", config.optimizer, "AdamW");
}

// Problems with this model shape.
std::vector<std::string> problems_with(const HeadTrainConfig& config, const policy::LlamaConfig& shape);

// The trained weights: the adapters and the head of a model with adapters, else everything above the lowest `frozen_layers` blocks; with
// none of them frozen, the embedding too.
runtime::Parameters trained_parameters(const RewardModel& model, int64_t frozen_layers);

// Warm-up steps of a training of `steps`: warmup_share of them, at least warmup_min_steps, but at most a fifth of all.
int64_t warmup_steps(const HeadTrainConfig& config, int64_t steps);

// A run of `steps` on a cosine schedule that keeps the last weights; `accumulate` as in runtime::TrainingJob.
void train_head(const HeadTrainConfig& config, const runtime::Parameters& weights, int64_t steps,
                const std::function<runtime::Measured(int64_t step)>& accumulate, const std::filesystem::path& folder,
                const std::string& label);

}  // namespace keel::reward
