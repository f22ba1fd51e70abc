// The steps of the recipe on folders: each reads model and data folders and leaves its results in `work`. Stages of a run and the commands
// that run one step by itself share them.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/counts.h"
#include "data/preferences.h"
#include "evaluation/reward_evaluation.h"
#include "inference/prompts.h"
#include "pipelines/recipe/recipe.h"
#include "rejection_sampling/selection.h"

namespace keel::pipelines::stages {

namespace fs = std::filesystem;

// Pretrains a model of shape `shape` on rows {"text"} or {"messages"} with an optional "source". Leaves a model folder.
struct PretrainInputs {
  fs::path corpus, validation;  // validation may be empty
  fs::path tokenizer;           // what load_tokenizer takes
  std::string chat_format;
};
void pretrain_operation(const PretrainInputs& inputs, policy::LlamaConfig shape, const policy::PretrainConfig& config, uint64_t seed,
                        const fs::path& work);

// The documents of such a corpus as ids in pieces of at most `row_tokens`, every id a target. `counts` gets what was read.
std::vector<core::TokenSequence> read_corpus_sequences(const fs::path& file, const inference::LanguageModel& model, int64_t row_tokens,
                                                       nlohmann::json& counts);

// Fine-tunes a model on demonstrations. Leaves a model folder.
struct SftInputs {
  fs::path model;
  fs::path demonstrations, validation;  // validation may be empty
  std::string chat_format;              // "" = the model's own
  inference::RenderPolicy limit;
};
void sft_operation(const SftInputs& inputs, const policy::SftConfig& config, uint64_t seed, const fs::path& work);

// Trains a reward model from a chat model on preference pairs, with the safety loss where they are safety data alone. Leaves a reward model
// folder with evaluation.json and scores.jsonl.
struct RewardInputs {
  fs::path model;
  fs::path pairs, held_out;
  bool safety = false;               // safety data: see data::PreferenceOptions
  std::string name;                  // "helpfulness", "safety", "general"
  bool drop_duplicates = false;      // leave out training pairs that repeat another
  bool drop_shared_prompts = false;  // leave out training pairs whose prompt is held out as well
  inference::RenderPolicy limit;
};
void reward_operation(const RewardInputs& inputs, const reward::RewardTrainConfig& settings, uint64_t seed, const fs::path& work);

// A reward model on a file of pairs: what evaluation.json says, without the model's name, and the scores behind it.
struct EvaluatedReward {
  nlohmann::json evaluation;
  std::vector<evaluation::ScoredPair> pairs;
};
EvaluatedReward evaluate_reward_model(const fs::path& reward, const fs::path& pairs, bool safety, const inference::RenderPolicy& limit);

// Every reward model on every file of pairs (paper, tables 7 and 8), and how far each two models agree on each file:
// {"evaluations": [evaluation.json with "reward" and "data" for its name], "agreements": [{"rewards": [a, b], "data", "mean", ...}]}.
struct RewardFolder {
  std::string name;
  fs::path path;
};
struct PairFile {
  std::string name;
  fs::path path;
  bool safety = false;  // as in data::PreferenceOptions
};
// `scores`: a folder that keeps the scores of each model on each file, so that a second attempt goes on there; "" for none.
nlohmann::json cross_evaluation(const std::vector<RewardFolder>& rewards, const std::vector<PairFile>& files,
                                const inference::RenderPolicy& limit, const fs::path& scores = {});

// A file of pairs by source as table 6 of the paper lists it, a row each, and in the last row the total with counts, repeats and, where
// `held_out` is not empty, the prompts that it shares with that file.
std::vector<nlohmann::json> preference_statistics(const fs::path& file, const fs::path& held_out, const fs::path& tokenizer, bool safety);

// Samples K answers a prompt from `policy`, keeps the best by the combined reward, fine-tunes `start` on them and on what earlier versions
// kept. Leaves a model folder with samples.jsonl.gz, selection.json and kept.jsonl.gz: the new answers alone, as ids and as {"prompt",
// "completion"}.
struct RejectionInputs {
  fs::path policy;               // the most recent model
  fs::path start;                // where fine-tuning restarts (paper 3.2.3: the base model)
  fs::path helpfulness, safety;  // reward models; safety may be empty
  fs::path prompts;
  std::vector<fs::path> pool;  // kept.jsonl.gz of earlier versions, oldest first
  int64_t version = 1;         // answers of other versions are drawn from other random streams
  inference::RenderPolicy limit;
};
void rejection_operation(const RejectionInputs& inputs, const rejection_sampling::RejectionConfig& config,
                         const reward::CombinationConfig& combination, uint64_t seed, const fs::path& work);

// Maximum and median of the first 1..K answers: means over prompts with 95 % bootstrap intervals, as selection.json and best_of.json hold
// them.
nlohmann::json scores_by_count(const rejection_sampling::Selection& selection, uint64_t seed);

// PPO from `policy`, which is also the KL reference. Leaves a model folder, its critic in critic/.
struct PpoInputs {
  fs::path policy;
  fs::path helpfulness, safety;  // reward models; safety may be empty
  fs::path prompts;
  fs::path held_out;     // prompts that choose the weights to keep; may be empty: the last ones
  fs::path pretraining;  // rows as for pretraining or SFT, read where ptx.weight > 0
  inference::RenderPolicy limit;
};
void ppo_operation(const PpoInputs& inputs, const ppo::PpoConfig& config, const reward::CombinationConfig& combination, uint64_t seed,
                   const fs::path& work);

}  // namespace keel::pipelines::stages
