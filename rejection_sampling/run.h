// One round of rejection sampling (Llama 2 paper, 3.2.3): K answers to each prompt, the best of them, fine-tuning on these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "policy/llama.h"
#include "rejection_sampling/config.h"
#include "rejection_sampling/selection.h"
#include "reward/function.h"

namespace keel::rejection_sampling {

struct RejectionJob {
  std::vector<core::Ids> prompts;
  core::Ids stop_ids;             // end an answer
  reward::RewardFunction reward;  // of answers to `prompts`
  int64_t version = 1;            // answers of other versions are drawn from other random streams
};

// config.samples answers of `policy` to each prompt, numbered 0..K-1, in order; of `count` temperatures, number i writes the answers i, i +
// count, ... Their probability is the score that config.score names. A kill loses one shard at most (FOLDER/ckpt).
std::vector<core::ScoredSample> sample_and_score(const policy::Llama& policy, const RejectionJob& job, const RejectionConfig& config,
                                                 uint64_t seed, const std::filesystem::path& folder);

// The answers kept by one or more versions, oldest first, as training data (paper: from V4 on those of all versions).
std::vector<core::TokenSequence> training_data(const std::vector<std::vector<KeptAnswer>>& versions);

}  // namespace keel::rejection_sampling
