// A yes-or-no classifier of answers: the reward model's scalar head, trained on labelled answers by binary cross-entropy;
// sigmoid(score) is the probability of yes. The Llama 2 paper trains its safety reward model with the same loss beside the ranking loss
// (A.3.4).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/types.h"
#include "reward/training_plan.h"

namespace keel::reward {

struct LabelledRow {
  core::Ids ids;  // prompt and answer, rendered and finished
  bool yes = false;
};

// Defaults that the reward model's training shares are its own; the paper trains no such classifier.
struct ClassifierTrainConfig : HeadTrainConfig {
  int64_t epochs = 3;
  int64_t batch_rows = 64;
  int64_t micro_rows = 32;
  int64_t micro_tokens = 1024;
};

inline void visit(ClassifierTrainConfig& config, core::Fields& fields) {
  fields("epochs", config.epochs, "passes over the answers", core::at_least(1));
  fields("batch_rows", config.batch_rows, "answers an optimiser step", core::at_least(1));
  fields("micro_rows", config.micro_rows, "answers a forward pass; memory against speed, same result", core::at_least(1));
  fields("micro_tokens", config.micro_tokens, "most padded tokens a forward pass (or one answer); limits micro_rows, same result",
         core::at_least(1));
  visit(static_cast<HeadTrainConfig&>(config), fields);
}

// Trains `model` in place on `rows` (each epoch in a random order of its own, keyed by (seed, "classifier.order", epoch)) and keeps the
// last weights. Loss: the mean of -log P(label) over the answers of a step. Throws as train_reward_model.
void train_classifier(const RewardModel& model, const std::vector<LabelledRow>& rows, const ClassifierTrainConfig& config, uint64_t seed,
                      const std::filesystem::path& folder, const std::string& label);

}  // namespace keel::reward
