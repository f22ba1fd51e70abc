// A yes-or-no classifier of answers: the reward model's scalar head, trained on labelled answers by binary cross-entropy;
// sigmoid(score) is the probability of yes. The Llama 2 paper trains its safety reward model with the same loss beside the ranking loss
// (A.3.4).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/types.h"
#include "reward/model.h"
#include "runtime/training.h"

namespace keel::reward {

struct LabelledRow {
  core::Ids ids;  // prompt and answer, rendered and finished
  bool yes = false;
};

// Defaults that the reward model's training shares are its own; the paper trains no such classifier.
struct ClassifierTrainConfig {
  HeadStart head = HeadStart::normal;
  int64_t epochs = 3;
  int64_t batch_rows = 64;
  int64_t micro_rows = 32;
  int64_t micro_tokens = 1024;
  double learning_rate = 1e-5;
  double final_ratio = 0.1;
  double warmup_share = 0.03;
  int64_t warmup_min_steps = 5;
  int64_t frozen_layers = 0;
  runtime::AdamWConfig optimizer;
};

inline void visit(ClassifierTrainConfig& config, core::Fields& fields) {
  fields("head", config.head, "first weights of the scalar head: N(0, s) with s = 1 / (hidden size + 1), or zeros");
  fields("epochs", config.epochs, "passes over the answers", core::at_least(1));
  fields("batch_rows", config.batch_rows, "answers an optimiser step", core::at_least(1));
  fields("micro_rows", config.micro_rows, "answers a forward pass; memory against speed, same result", core::at_least(1));
  fields("micro_tokens", config.micro_tokens, "most padded tokens a forward pass (or one answer); limits micro_rows, same result",
         core::at_least(1));
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
std::vector<std::string> problems_with(const ClassifierTrainConfig& config, const policy::LlamaConfig& shape);

// Trains `model` in place on `rows` (each epoch in a random order of its own, keyed by (seed, "classifier.order", epoch)) and keeps the
// last weights. Loss: the mean of -log P(label) over the answers of a step. Throws as train_reward_model.
void train_classifier(const RewardModel& model, const std::vector<LabelledRow>& rows, const ClassifierTrainConfig& config, uint64_t seed,
                      const std::filesystem::path& folder, const std::string& label);

}  // namespace keel::reward
