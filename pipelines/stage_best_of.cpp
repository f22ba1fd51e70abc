// Best of n at several temperatures (Llama 2 paper, figures 7 and 8): the maximum grows with n, the median does not, and the best
// temperature moves as a model is aligned.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "data/chat_format.h"
#include "pipelines/model_folder.h"
#include "pipelines/operations.h"
#include "pipelines/samples.h"
#include "pipelines/stages.h"
#include "ppo/reward_function.h"
#include "rejection_sampling/run.h"

namespace keel::pipelines {
namespace {

// One model at one temperature.
nlohmann::json study(const std::string& name, const LanguageModel& model, double temperature, const Prompts& prompts,
                     const ppo::RewardFunction& reward, const Recipe& recipe, const StageContext& context) {
  const auto samples = sample_in_shards(model.llama, prompts.ids,
                                        {.label = fmt::format("best_of {} T={}", name, temperature),
                                         .samples = recipe.best_of.samples,
                                         .sampling = {.temperature = temperature,
                                                      .max_new_tokens = recipe.evaluation.max_new_tokens,
                                                      .batch_rows = recipe.evaluation.batch_rows},
                                         .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                                         .seed = context.seed},
                                        context.work);
  const auto earned = reward(samples);
  std::vector<core::ScoredSample> scored;
  for (size_t i = 0; i < samples.size(); ++i)
    scored.push_back({.sample = samples[i], .score = earned[i].probability});
  const auto selection = rejection_sampling::select_best(std::move(scored), {.finished_only = false});
  return {{"model", name}, {"temperature", temperature}, {"scores_by_count", scores_by_count(selection, context.seed)}};
}

}  // namespace

void study_best_of(const Recipe& recipe, const StageContext& context) {
  const Version newest = versions_of(recipe).back();
  const ScoringModel helpfulness = load_scoring_model(context.inputs.at(newest.helpfulness));
  const ScoringModel safety = load_scoring_model(context.inputs.at(newest.safety));
  nlohmann::json rows = nlohmann::json::array(), best = nlohmann::json::array();
  for (const auto& [name, stage] : run_models(recipe)) {
    if (name == "base") continue;
    const LanguageModel model = load_language_model(context.inputs.at(stage));
    Prompts prompts = read_prompt_file(context.inputs.at("data") / fmt::format("prompts_{}.jsonl", recipe.evaluation.split), model,
                                       length_limit(recipe), recipe.evaluation.max_new_tokens);
    const size_t count = std::min(prompts.ids.size(), static_cast<size_t>(recipe.best_of.prompts));
    prompts.ids.resize(count);
    prompts.hazard.resize(count);
    const auto reward = ppo::gated_reward(helpfulness.model, safety.model, prompts.ids, prompts.hazard, recipe.combination);
    const size_t first = rows.size();
    for (const double temperature : recipe.best_of.temperatures)
      rows.push_back(study(name, model, temperature, prompts, reward, recipe, context));
    // The temperature whose best answer is best, for each number of answers.
    for (size_t n = 0; n < static_cast<size_t>(recipe.best_of.samples); ++n) {
      const auto maximum = [&](const nlohmann::json& row) {
        return row.at("scores_by_count").at(n).at("maximum").at("mean").get<double>();
      };
      const auto top = std::max_element(rows.begin() + static_cast<std::ptrdiff_t>(first), rows.end(),
                                        [&](const auto& a, const auto& b) { return maximum(a) < maximum(b); });
      best.push_back({{"model", name}, {"answers", n + 1}, {"temperature", top->at("temperature")}, {"maximum", maximum(*top)}});
    }
  }
  core::write_file(context.work / "best_of.json", core::dump_json({{"curves", rows}, {"best_temperature", best}}) + "\n");
}

}  // namespace keel::pipelines
