// Reward models on files of preference pairs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/preferences.h"
#include "evaluation/reward_evaluation.h"
#include "inference/model_folder.h"
#include "inference/prompts.h"
#include "reward/pair_scores.h"

namespace keel::evaluation {

// Pairs of a file as a model reads them.
struct RenderedSet {
  data::PreferenceSet set;
  data::RenderedPairs rendered;
  nlohmann::json counts;
};

// DataError when no pair fits a model with this context.
RenderedSet render_set(data::PreferenceSet set, const inference::RenderPolicy& limit, data::ChatFormat format,
                       const data::Tokenizer& tokenizer, int64_t context);
std::vector<ScoredPair> scored_pairs(const reward::PairScores& scores, const data::Tokenizer& tokenizer, const RenderedSet& pairs);

// {"duplicates", "contradictions"} of a set, and {"prompts", "train_pairs", "test_pairs"} that two sets share, with a warning.
nlohmann::json repeats_json(const data::PreferenceSet& set);
nlohmann::json shared_json(const data::PreferenceSet& train, const data::PreferenceSet& test);

// A reward model on a file of pairs: the content of evaluation.json without the model's name, and the scores behind it.
struct EvaluatedReward {
  nlohmann::json evaluation;
  std::vector<ScoredPair> pairs;
};
EvaluatedReward evaluate_reward_model(const std::filesystem::path& reward, const std::filesystem::path& pairs, bool safety,
                                      const inference::RenderPolicy& limit);

// Every reward model on every file of pairs (paper, tables 7 and 8), and the agreement of every two models on each file: {"evaluations":
// [evaluation.json with "reward" and "data" for its name], "agreements": [{"rewards": [a, b], "data", "mean", ...}]}.
struct RewardFolder {
  std::string name;
  std::filesystem::path path;          // or an address (inference/remote_reward.h)
  std::filesystem::path text_of = {};  // of an address: a model folder with the same tokenizer and chat format
};
struct PairFile {
  std::string name;
  std::filesystem::path path;
  bool safety = false;  // as in data::PreferenceOptions
};
// `limit_of`: the limits within which a model reads. `scores`: a folder that keeps the scores of each model on each file, so that a second
// attempt continues there; "" for none.
nlohmann::json cross_evaluation(const std::vector<RewardFolder>& rewards, const std::vector<PairFile>& files,
                                const std::function<inference::RenderPolicy(const inference::ScoringModel&)>& limit_of,
                                const std::filesystem::path& scores = {});

// Table 6 of the paper for a file of pairs: one row a source, and a last row of totals with counts, repeats and, where `held_out` is not
// empty, the prompts shared with that file.
std::vector<nlohmann::json> preference_statistics(const std::filesystem::path& file, const std::filesystem::path& held_out,
                                                  const std::filesystem::path& tokenizer, bool safety);

}  // namespace keel::evaluation
