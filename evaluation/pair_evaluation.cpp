#include "evaluation/pair_evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "data/statistics.h"
#include "evaluation/reward_json.h"
#include "inference/remote_reward.h"
#include "inference/reward_models.h"

namespace keel::evaluation {
namespace {

// The prompt of each pair, as the index of the first pair with it. Indices refer to the whole set, so that two models agree even if one
// cannot read all pairs.
std::vector<int64_t> prompts_of(const data::PreferenceSet& set) {
  std::map<std::string, int64_t> first;
  std::vector<int64_t> prompts;
  for (const core::PreferencePair& pair : set.pairs)
    prompts.push_back(first.try_emplace(data::prompt_key(pair.prompt), std::ssize(prompts)).first->second);
  return prompts;
}

// A model on the pairs of a file; `rows` are the indices, in the file's set, of the pairs that it could read.
struct OnFile {
  EvaluatedReward result;
  std::vector<size_t> rows;
};

// A service scores the two sides as rows of their own.
reward::PairScores scores_of(const inference::ScoringModel& model, const std::vector<core::TokenPair>& pairs) {
  if (model.weights) return reward::score_pairs(*model.weights, pairs);
  std::vector<core::Ids> chosen, rejected;
  for (const auto& pair : pairs)
    chosen.push_back(pair.chosen), rejected.push_back(pair.rejected);
  return {.chosen = model.score(chosen), .rejected = model.score(rejected)};
}

// `kept`: a file for the scores, read if an earlier attempt wrote it; "" for none.
OnFile evaluate_on(const inference::ScoringModel& model, const PairFile& file, const inference::RenderPolicy& limit,
                   const std::filesystem::path& kept = {}) {
  const RenderedSet pairs = render_set(data::read_preferences(file.path, {.safety = file.safety}), limit, model.format, *model.tokenizer,
                                       model.shape.max_position_embeddings);
  OnFile on{.result = {}, .rows = pairs.rendered.rows};
  if (!kept.empty() && std::filesystem::exists(kept)) {
    on.result.pairs = read_scores(kept);
    if (on.result.pairs.size() != on.rows.size())
      throw core::DataError(kept, 0, "holds the scores of other pairs than this stage asks for; delete it to score them again");
  } else {
    on.result.pairs = scored_pairs(scores_of(model, pairs.rendered.pairs), *model.tokenizer, pairs);
    if (!kept.empty()) write_scores(kept, on.result.pairs);
  }
  on.result.evaluation = to_json(evaluate_reward(on.result.pairs));
  on.result.evaluation["counts"] = pairs.counts;
  return on;
}

// The scores that both models gave to the pairs that both could read.
std::pair<std::vector<ScoredPair>, std::vector<ScoredPair>> in_common(const OnFile& a, const OnFile& b) {
  std::pair<std::vector<ScoredPair>, std::vector<ScoredPair>> both;
  for (size_t i = 0, j = 0; i < a.rows.size() && j < b.rows.size();) {
    if (a.rows[i] == b.rows[j]) {
      both.first.push_back(a.result.pairs[i]);
      both.second.push_back(b.result.pairs[j]);
    }
    const size_t row = std::min(a.rows[i], b.rows[j]);
    i += a.rows[i] == row ? 1 : 0;
    j += b.rows[j] == row ? 1 : 0;
  }
  return both;
}

}  // namespace

RenderedSet render_set(data::PreferenceSet set, const inference::RenderPolicy& limit, data::ChatFormat format,
                       const data::Tokenizer& tokenizer, int64_t context) {
  RenderedSet pairs{.set = std::move(set), .rendered = {}, .counts = {}};
  pairs.rendered = data::render_pairs(pairs.set, format, tokenizer, inference::limits_within(limit, context));
  core::log_info(fmt::format("{}: {}; rendered: {}", pairs.set.path, to_line(pairs.set.counts), to_line(pairs.rendered.counts)));
  if (pairs.rendered.pairs.empty())
    throw core::DataError(
        pairs.set.path, 0,
        fmt::format("leaves no pair to use ({}): where they are too long, raise the limit of tokens", to_line(pairs.rendered.counts)));
  pairs.counts = {{"read", to_json(pairs.set.counts)}, {"rendered", to_json(pairs.rendered.counts)}};
  return pairs;
}

std::vector<ScoredPair> scored_pairs(const reward::PairScores& scores, const data::Tokenizer& tokenizer, const RenderedSet& pairs) {
  const std::vector<int64_t> prompts = prompts_of(pairs.set);
  std::vector<ScoredPair> scored;
  for (size_t i = 0; i < pairs.rendered.rows.size(); ++i) {
    const core::PreferencePair& pair = pairs.set.pairs[pairs.rendered.rows[i]];
    scored.push_back({.chosen = scores.chosen[i],
                      .rejected = scores.rejected[i],
                      .strength = pair.strength,
                      .chosen_safe = pair.chosen_safe,
                      .rejected_safe = pair.rejected_safe,
                      .source = pair.source,
                      .batch = pair.batch,
                      .chosen_tokens = std::ssize(tokenizer.encode(pair.chosen)),
                      .rejected_tokens = std::ssize(tokenizer.encode(pair.rejected)),
                      .prompt = prompts[pairs.rendered.rows[i]]});
  }
  return scored;
}

nlohmann::json repeats_json(const data::PreferenceSet& set) {
  const data::Repeats repeats = data::count_repeats(set);
  return {{"duplicates", repeats.duplicates}, {"contradictions", repeats.contradictions}};
}

nlohmann::json shared_json(const data::PreferenceSet& train, const data::PreferenceSet& test) {
  const data::SharedPrompts shared = data::shared_prompts(train, test);
  if (shared.prompts > 0)
    core::log_warn(fmt::format("{} prompts stand in both {} and {}: {} training and {} held-out pairs have one of them", shared.prompts,
                               train.path, test.path, shared.train_pairs, shared.test_pairs));
  return {{"prompts", shared.prompts}, {"train_pairs", shared.train_pairs}, {"test_pairs", shared.test_pairs}};
}

EvaluatedReward evaluate_reward_model(const std::filesystem::path& reward, const std::filesystem::path& pairs, bool safety,
                                      const inference::RenderPolicy& limit) {
  return evaluate_on(inference::load_scoring_model(reward), {.name = {}, .path = pairs, .safety = safety}, limit).result;
}

nlohmann::json cross_evaluation(const std::vector<RewardFolder>& rewards, const std::vector<PairFile>& files,
                                const std::function<inference::RenderPolicy(const inference::ScoringModel&)>& limit_of,
                                const std::filesystem::path& scores) {
  nlohmann::json evaluations = nlohmann::json::array(), agreements = nlohmann::json::array();
  std::vector<std::vector<OnFile>> by_file(files.size());  // of each model
  for (const RewardFolder& reward : rewards) {
    const inference::ScoringModel model = inference::is_remote(reward.path) ? inference::load_scoring_model_for(reward.path, reward.text_of)
                                                                            : inference::load_scoring_model(reward.path);
    for (size_t file = 0; file < files.size(); ++file) {
      const std::filesystem::path kept =
          scores.empty() ? std::filesystem::path() : scores / fmt::format("{}_on_{}.jsonl", reward.name, files[file].name);
      by_file[file].push_back(evaluate_on(model, files[file], limit_of(model), kept));
      evaluations.push_back(by_file[file].back().result.evaluation);
      evaluations.back()["reward"] = reward.name;
      evaluations.back()["data"] = files[file].name;
    }
  }
  for (size_t file = 0; file < files.size(); ++file)
    for (size_t a = 0; a < rewards.size(); ++a)
      for (size_t b = a + 1; b < rewards.size(); ++b) {
        const auto [of_a, of_b] = in_common(by_file[file][a], by_file[file][b]);
        if (of_a.empty()) continue;
        agreements.push_back(to_json(reward_agreement(of_a, of_b)));
        agreements.back()["rewards"] = {rewards[a].name, rewards[b].name};
        agreements.back()["data"] = files[file].name;
      }
  return {{"evaluations", evaluations}, {"agreements", agreements}};
}

std::vector<nlohmann::json> preference_statistics(const std::filesystem::path& file, const std::filesystem::path& held_out,
                                                  const std::filesystem::path& tokenizer, bool safety) {
  const data::PreferenceSet set = data::read_preferences(file, {.safety = safety});
  std::vector<nlohmann::json> rows;
  for (const data::PairStatistics& row : data::pair_statistics(set, *data::load_tokenizer(tokenizer)))
    rows.push_back(to_json(row));
  rows.back()["counts"] = to_json(set.counts);
  rows.back()["repeats"] = repeats_json(set);
  if (!held_out.empty()) rows.back()["prompts_in_both"] = shared_json(set, data::read_preferences(held_out, {.safety = safety}));
  return rows;
}

}  // namespace keel::evaluation
