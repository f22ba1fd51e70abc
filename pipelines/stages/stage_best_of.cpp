// Best of n at several temperatures (Llama 2 paper, figures 7 and 8): the maximum grows with n, the median does not, and the best
// temperature moves as a model is aligned.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "data/chat_format.h"
#include "evaluation/statistics/interval.h"
#include "inference/model_folder.h"
#include "pipelines/stages/operations.h"
#include "pipelines/stages/stages.h"
#include "policy/shards.h"
#include "rejection_sampling/selection.h"
#include "reward/function.h"

namespace keel::pipelines::stages {
namespace {

// One model at one temperature: scores of the first n answers to each prompt, chosen by `reward`.
rejection_sampling::Selection study(const std::string& name, const inference::LanguageModel& model, double temperature,
                                    const inference::Prompts& prompts, const reward::RewardFunction& reward, const recipe::Recipe& recipe,
                                    const run::StageContext& context) {
  const auto samples =
      policy::sample_in_shards(model.llama, prompts.ids,
                               {.label = fmt::format("best_of {} T={}", name, temperature),
                                .samples = recipe.best_of.samples,
                                .sampling = {.temperature = temperature, .max_new_tokens = recipe.evaluation.max_new_tokens},
                                .batch_rows = recipe.evaluation.batch_rows,
                                .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                                .seed = context.seed},
                               context.work);
  const auto earned = reward(samples);
  std::vector<core::ScoredSample> scored;
  for (size_t i = 0; i < samples.size(); ++i)
    scored.push_back({.sample = samples[i], .probability = earned[i].probability});
  return rejection_sampling::select_best(std::move(scored), {.finished_only = false});
}

// The temperature whose best of n answers is best, the lowest of equals, with its interval over prompts. `selections`: one a temperature.
nlohmann::json best_temperature(const std::vector<double>& temperatures, const std::vector<rejection_sampling::Selection>& selections,
                                size_t n, uint64_t seed) {
  const auto maximum = [&](size_t temperature, const std::vector<size_t>& prompts) {
    double sum = 0;
    for (const size_t prompt : prompts)
      sum += selections[temperature].statistics[n].maximum[prompt];
    return sum / static_cast<double>(prompts.size());
  };
  const auto best = [&](const std::vector<size_t>& prompts) {
    std::vector<double> maxima;
    for (size_t temperature = 0; temperature < temperatures.size(); ++temperature)
      maxima.push_back(maximum(temperature, prompts));
    return temperatures[static_cast<size_t>(std::max_element(maxima.begin(), maxima.end()) - maxima.begin())];
  };
  const auto interval = evaluation::statistics::bootstrap_statistic(selections.front().statistics[n].maximum.size(), best,
                                                                    {.seed = seed, .replicates = 1000});
  return {{"answers", n + 1}, {"temperature", interval.mean}, {"low", interval.low}, {"high", interval.high}};
}

}  // namespace

void study_best_of(const recipe::Recipe& recipe, const run::StageContext& context) {
  const recipe::Version newest = recipe::versions_of(recipe).back();
  const inference::ScoringModel helpfulness = inference::load_scoring_model(context.inputs.at(newest.helpfulness));
  const inference::ScoringModel safety = inference::load_scoring_model(context.inputs.at(newest.safety));
  nlohmann::json curves = nlohmann::json::array(), best = nlohmann::json::array();
  for (const auto& [name, stage] : recipe::run_models(recipe)) {
    if (name == "base") continue;
    const inference::LanguageModel model = inference::load_language_model(context.inputs.at(stage));
    inference::Prompts prompts =
        inference::read_prompt_file(context.inputs.at("data") / fmt::format("prompts_{}.jsonl", recipe.evaluation.split), model,
                                    length_limit(recipe), recipe.evaluation.max_new_tokens);
    const size_t count = std::min(prompts.ids.size(), static_cast<size_t>(recipe.best_of.prompts));
    prompts.ids.resize(count);
    prompts.hazard.resize(count);
    const auto reward = reward::gated_reward(helpfulness.model, safety.model, prompts.ids, prompts.hazard, recipe.combination);
    std::vector<rejection_sampling::Selection> selections;
    for (const double temperature : recipe.best_of.temperatures) {
      selections.push_back(study(name, model, temperature, prompts, reward, recipe, context));
      curves.push_back(
          {{"model", name}, {"temperature", temperature}, {"scores_by_count", scores_by_count(selections.back(), context.seed)}});
    }
    for (size_t n = 0; n < static_cast<size_t>(recipe.best_of.samples); ++n) {
      best.push_back(best_temperature(recipe.best_of.temperatures, selections, n, context.seed));
      best.back()["model"] = name;
    }
  }
  core::write_file(context.work / "best_of.json", core::dump_json({{"curves", curves}, {"best_temperature", best}}) + "\n");
}

}  // namespace keel::pipelines::stages
