// Reward-model training and evaluation on folders.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "data/preferences.h"
#include "evaluation/statistics/interval.h"
#include "pipelines/measures.h"
#include "pipelines/model_folder.h"
#include "pipelines/operations.h"
#include "reward/evaluate.h"

namespace keel::pipelines {
namespace {

struct Pairs {
  std::vector<core::TokenPair> pairs;
  nlohmann::json counts;
};

Pairs read_pairs(const fs::path& file, bool safety, const RenderPolicy& limit, data::ChatFormat format, const data::Tokenizer& tokenizer,
                 int64_t context) {
  const data::PreferenceSet set = data::read_preferences(file, {.safety = safety});
  data::RenderedPairs rendered = data::render_pairs(set, format, tokenizer, limits_within(limit, context));
  core::log_info(fmt::format("{}: {}; rendered: {}", file.string(), to_line(set.counts), to_line(rendered.counts)));
  if (rendered.pairs.empty()) throw core::DataError(file, 0, "leaves no pair to use; see the counts above");
  return {.pairs = std::move(rendered.pairs), .counts = {{"read", to_json(set.counts)}, {"rendered", to_json(rendered.counts)}}};
}

nlohmann::json agreement_json(const reward::Agreement& agreement) {
  nlohmann::json object = to_json(evaluation::statistics::wilson(agreement.correct, agreement.pairs));
  object["pairs"] = agreement.pairs;
  return object;
}

nlohmann::json evaluation_json(const reward::RewardEvaluation& result) {
  static constexpr const char* kNames[] = {"not recorded", "negligibly better", "slightly better", "better", "significantly better"};
  nlohmann::json by_strength = nlohmann::json::array();
  for (size_t strength = 0; strength < result.by_strength.size(); ++strength)
    if (result.by_strength[strength].pairs > 0) {
      by_strength.push_back(agreement_json(result.by_strength[strength]));
      by_strength.back()["strength"] = strength;
      by_strength.back()["name"] = kNames[strength];
    }
  return {{"accuracy", agreement_json(result.all)},
          {"by_strength", by_strength},
          {"loss", result.loss},
          {"mean_difference", result.mean_difference}};
}

}  // namespace

void reward_operation(const RewardInputs& inputs, const reward::RewardTrainConfig& config, uint64_t seed, const fs::path& work) {
  const LanguageModel chat = load_language_model(inputs.model);
  const int64_t context = chat.llama.config.max_position_embeddings;
  const Pairs train = read_pairs(inputs.pairs, inputs.safety, inputs.limit, chat.format, *chat.tokenizer, context);
  const Pairs held_out = read_pairs(inputs.held_out, inputs.safety, inputs.limit, chat.format, *chat.tokenizer, context);
  const reward::RewardModel model = reward::make_reward_model(chat.llama, config.head, seed);
  reward::train_reward_model(model, train.pairs, config, seed, work, "reward " + inputs.name);
  nlohmann::json evaluation = evaluation_json(reward::evaluate(model, held_out.pairs));
  evaluation["name"] = inputs.name;
  evaluation["counts"] = {{"train", train.counts}, {"held_out", held_out.counts}};
  core::write_file(work / "evaluation.json", core::dump_json(evaluation) + "\n");
  save_scoring_model(work, model, inputs.model, chat.format, {{"stage", "reward"}, {"kind", inputs.name}, {"seed", seed}});
}

nlohmann::json evaluate_reward_model(const fs::path& reward, const fs::path& pairs, bool safety, const RenderPolicy& limit) {
  const ScoringModel model = load_scoring_model(reward);
  const Pairs read = read_pairs(pairs, safety, limit, model.format, *model.tokenizer, model.model.backbone.config.max_position_embeddings);
  nlohmann::json object = evaluation_json(reward::evaluate(model.model, read.pairs));
  object["counts"] = read.counts;
  return object;
}

}  // namespace keel::pipelines
