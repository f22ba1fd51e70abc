// Best of n at several temperatures (Llama 2 paper, figures 7 and 8): the maximum grows with n, the median does not, and the best
// temperature moves as a model is aligned.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "evaluation/statistics/interval.h"
#include "inference/prompts.h"
#include "inference/reward_models.h"
#include "pipelines/measurement/score_curves.h"
#include "pipelines/steps/plan.h"
#include "policy/shards.h"

namespace keel::pipelines::measurement {
namespace {

struct BestOfSettings {
  recipe::BestOfConfig best_of;
  int64_t max_new_tokens = 256, batch_rows = 64;
  std::vector<std::string> models;
  reward::CombinationConfig combination;
  inference::RenderPolicy limit;
};

void visit(BestOfSettings& settings, core::Fields& fields) {
  fields.section("best_of", settings.best_of, "answers and temperatures");
  fields("max_new_tokens", settings.max_new_tokens, "longest answer in tokens");
  fields("batch_rows", settings.batch_rows, "answers decoded together");
  fields("models", settings.models, "models");
  fields.section("combination", settings.combination, "helpfulness and safety in one score");
  fields.section("limit", settings.limit, "prompts that do not fit, and tags in messages");
}

// One model at one temperature: scores of the first n answers to each prompt, chosen by `reward`. All models and temperatures use the same
// draws.
rejection_sampling::Selection study(const std::string& name, const inference::LanguageModel& model, double temperature,
                                    const inference::Prompts& prompts, const reward::RewardFunction& reward, const BestOfSettings& settings,
                                    const steps::Context& context) {
  const auto samples = policy::generate_in_shards(model.llama,
                                                  {.prompts = prompts.ids,
                                                   .samples = settings.best_of.samples,
                                                   .sampling = {.temperature = temperature, .max_new_tokens = settings.max_new_tokens},
                                                   .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                                                   .seed = context.seed,
                                                   .purpose = "best_of",
                                                   .batch_rows = settings.batch_rows},
                                                  fmt::format("best_of {} T={}", name, temperature), context.work);
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

// Reads "prompts", "model:NAME" of every model, "reward" and "safety_reward".
void study_models(const BestOfSettings& settings, const steps::Context& context) {
  const auto rewards = inference::load_reward_models(context.at("reward"), context.at("safety_reward"), context.at("reward"));
  nlohmann::json curves = nlohmann::json::array(), best = nlohmann::json::array();
  for (const auto& name : settings.models) {
    const inference::LanguageModel model = inference::load_language_model(context.at("model:" + name));
    inference::Prompts prompts = inference::read_prompt_file(context.at("prompts"), model, settings.limit, settings.max_new_tokens);
    const size_t count = std::min(prompts.ids.size(), static_cast<size_t>(settings.best_of.prompts));
    prompts.ids.resize(count);
    prompts.hazard.resize(count);
    const auto reward = inference::reward_function(rewards, prompts.ids, prompts.hazard, settings.combination);
    std::vector<rejection_sampling::Selection> selections;
    for (const double temperature : settings.best_of.temperatures) {
      selections.push_back(study(name, model, temperature, prompts, reward, settings, context));
      curves.push_back(
          {{"model", name}, {"temperature", temperature}, {"scores_by_count", scores_by_count(selections.back(), context.seed)}});
    }
    for (size_t n = 0; n < static_cast<size_t>(settings.best_of.samples); ++n) {
      best.push_back(best_temperature(settings.best_of.temperatures, selections, n, context.seed));
      best.back()["model"] = name;
    }
  }
  core::write_file(context.work / "best_of.json", core::dump_json({{"curves", curves}, {"best_temperature", best}}) + "\n");
}

}  // namespace

void add_best_of(steps::Plan& plan) {
  const recipe::Recipe& recipe = plan.recipe;
  if (recipe.best_of.samples == 0) return;
  const recipe::Version& newest = plan.versions.back();
  BestOfSettings settings{.best_of = recipe.best_of,
                          .max_new_tokens = recipe.evaluation.max_new_tokens,
                          .batch_rows = recipe.evaluation.batch_rows,
                          .models = {},
                          .combination = recipe.combination,
                          .limit = steps::length_limit(recipe)};
  steps::Inputs inputs = {{"prompts", steps::output_of("data", fmt::format("prompts_{}.jsonl", core::name_of(recipe.evaluation.split)))},
                          {"reward", steps::output_of(newest.helpfulness)},
                          {"safety_reward", steps::output_of(newest.safety)}};
  for (const auto& [name, stage] : recipe::run_models(recipe)) {
    if (name == "base") continue;
    settings.models.push_back(name);
    inputs.push_back({"model:" + name, steps::output_of(stage)});
  }
  plan.add(steps::together(steps::make_step("best_of", settings, std::move(inputs), study_models)));
}

}  // namespace keel::pipelines::measurement
