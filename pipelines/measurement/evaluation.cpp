// Evaluation: every model answers the held-out prompts at temperature 1; judges, reward models and SFT measure the answers.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "data/messages.h"
#include "evaluation/model_comparison.h"
#include "evaluation/pair_evaluation.h"
#include "evaluation/statistics/json.h"
#include "inference/prompts.h"
#include "pipelines/steps/plan.h"
#include "policy/logprobs.h"
#include "policy/shards.h"
#include "refusal/classify.h"
#include "sandbox/judge.h"

namespace keel::pipelines::measurement {
namespace {

struct EvaluationSettings {
  recipe::EvaluationConfig evaluation;
  std::vector<std::string> models;   // in order; the others are compared with "sft"
  std::vector<std::string> before;   // for each, the model of the version before; "" for none
  std::vector<std::string> rewards;  // kinds: "helpfulness", "safety", "general"
  bool sandbox = false;              // its judges know the truth
  bool gold = false;                 // gold reward models stand for it
  inference::RenderPolicy limit;
};

void visit(EvaluationSettings& settings, core::Fields& fields) {
  fields.section("evaluation", settings.evaluation, "answers and intervals");
  fields("models", settings.models, "models");
  fields("before", settings.before, "model of the version before, of each");
  fields("rewards", settings.rewards, "reward models");
  fields("sandbox", settings.sandbox, "the sandbox's judges");
  fields("gold", settings.gold, "gold reward models");
  fields.section("limit", settings.limit, "prompts that do not fit, and tags in messages");
}

// The prompts of the evaluation (every model of a run shares tokenizer and chat format), and the judge's view of them.
struct Questions {
  inference::Prompts prompts;
  std::vector<sandbox::PromptInfo> sandbox;  // empty on real data
  std::optional<sandbox::World> world;
};

Questions read_questions(const EvaluationSettings& settings, const steps::Context& context, const inference::LanguageModel& model) {
  const auto path = context.at("prompts");
  Questions questions{
      .prompts = inference::read_prompt_file(path, model, settings.limit, settings.evaluation.max_new_tokens), .sandbox = {}, .world = {}};
  if (!settings.sandbox) return questions;
  questions.world = sandbox::make_world(context.seed);
  for (const auto& row : questions.prompts.rows)
    questions.sandbox.push_back(sandbox::prompt_from_json(row, path, 0));
  return questions;
}

// The models and judges that measure answers.
struct Measures {
  const inference::LanguageModel& sft;
  std::map<std::string, inference::ScoringModel> rewards;  // by kind: "helpfulness", "safety", "general", "gold_helpfulness", "gold_safety"
};

struct Answered {
  evaluation::ModelAnswers measured;
  std::vector<std::string> texts;
  std::vector<core::FinishReason> finish;
};

double sum_from(const std::vector<float>& values, size_t begin) {
  return std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(begin), values.end(), 0.0);
}

Answered answer_all(const std::string& name, const Measures& measures, const Questions& questions, const EvaluationSettings& settings,
                    const steps::Context& context) {
  const inference::LanguageModel model = inference::load_language_model(context.at("model:" + name));
  const inference::Prompts& prompts = questions.prompts;
  Answered result{.measured = {.model = name, .answers = {}}, .texts = {}, .finish = {}};
  // The same draws for every model, so that only the models make answers differ and equal models give equal answers.
  const auto samples = policy::generate_in_shards(model.llama,
                                                  {.prompts = prompts.ids,
                                                   .sampling = {.max_new_tokens = settings.evaluation.max_new_tokens},
                                                   .stop_ids = data::stop_ids(model.format, *model.tokenizer),
                                                   .seed = context.seed,
                                                   .purpose = "evaluation",
                                                   .batch_rows = settings.evaluation.batch_rows},
                                                  "evaluation " + name, context.work);
  std::vector<core::Ids> whole;
  for (const auto& sample : samples)
    whole.push_back(core::joined(prompts.ids[static_cast<size_t>(sample.prompt)], sample.ids));
  const bool recorded = policy::records_exactly(model.llama);  // at temperature 1, as the reference is computed
  const auto own = recorded ? std::vector<std::vector<float>>() : policy::sequence_logprobs(model.llama, whole);
  const auto reference = policy::sequence_logprobs(measures.sft.llama, whole);
  std::map<std::string, std::vector<double>> scores;
  for (const auto& [kind, reward] : measures.rewards)
    scores[kind] = reward.score(whole);
  for (size_t i = 0; i < samples.size(); ++i) {
    const size_t first = prompts.ids[i].size() - 1;  // log-prob i belongs to id i + 1
    const std::string text = data::answer_text(model.format, *model.tokenizer, samples[i].ids);
    evaluation::MeasuredAnswer answer{
        .hazard = prompts.hazard[i],
        .false_refusal = {},
        .refused = {},
        .gold_helpfulness = {},
        .gold_safety = {},
        .reward_helpfulness = reward::probability(scores.at("helpfulness")[i]),
        .reward_safety = reward::probability(scores.at("safety")[i]),
        .kl_to_sft = (recorded ? sum_from(samples[i].logprobs, 0) : sum_from(own[i], first)) - sum_from(reference[i], first)};
    if (const auto general = scores.find("general"); general != scores.end())
      answer.reward_general = reward::probability(general->second[i]);
    if (questions.world) {
      answer.family = questions.sandbox[i].family;
      answer.gold_helpfulness = sandbox::gold_helpfulness(*questions.world, questions.sandbox[i], text);
      answer.gold_safety = sandbox::gold_safety(*questions.world, questions.sandbox[i], text);
      answer.false_refusal = sandbox::is_false_refusal(questions.sandbox[i], text);
    } else {
      answer.refused = refusal::refuses(refusal::classify(text).kind);
    }
    if (settings.gold) {
      answer.gold_helpfulness = reward::probability(scores.at("gold_helpfulness")[i]);
      answer.gold_safety = reward::probability(scores.at("gold_safety")[i]);
    }
    result.measured.answers.push_back(answer);
    result.texts.push_back(text);
    result.finish.push_back(samples[i].finish);
  }
  return result;
}

nlohmann::json answer_row(const Answered& model, size_t i, const Questions& questions) {
  const auto& measured = model.measured.answers[i];
  nlohmann::json row = {{"model", model.measured.model},
                        {"prompt", i},
                        {"messages", data::messages_json(questions.prompts.dialogues[i])},
                        {"text", model.texts[i]},
                        {"finish_reason", core::name_of(model.finish[i])},
                        {"hazard", measured.hazard},
                        {"reward_helpfulness", measured.reward_helpfulness},
                        {"reward_safety", measured.reward_safety},
                        {"kl_to_sft", measured.kl_to_sft}};
  if (measured.reward_general) row["reward_general"] = *measured.reward_general;
  if (measured.gold_helpfulness) {
    row["gold_helpfulness"] = *measured.gold_helpfulness;
    row["gold_safety"] = *measured.gold_safety;
  }
  if (questions.world) {
    row["family"] = measured.family;
    row["false_refusal"] = *measured.false_refusal;
  } else {
    row["refused"] = *measured.refused;
  }
  return row;
}

// Paper, table 8: every reward model on every kind of held-out pairs.
void write_cross_evaluation(const EvaluationSettings& settings, const steps::Context& context) {
  std::vector<evaluation::RewardFolder> rewards;
  std::vector<evaluation::PairFile> files;
  for (const auto& kind : settings.rewards) {
    const auto folder = context.at("reward:" + kind);
    if (!steps::fs::exists(folder / "held_out.jsonl.gz")) continue;  // a team's own model, and no pairs to measure it on
    rewards.push_back({.name = kind, .path = folder});
    files.push_back({.name = kind, .path = folder / "held_out.jsonl.gz", .safety = kind == "safety"});
  }
  const auto scores = context.work / "ckpt" / "cross";
  core::make_directories(scores);
  core::write_file(context.work / "reward_models.json",
                   core::dump_json(evaluation::cross_evaluation(
                       rewards, files, [&](const inference::ScoringModel&) { return settings.limit; }, scores)) +
                       "\n");
}

// Reads "prompts", "model:NAME" of every model, "reward:KIND" of every reward model, and the gold reward models where there are some.
void evaluate(const EvaluationSettings& settings, const steps::Context& context) {
  const inference::LanguageModel sft = inference::load_language_model(context.at("model:sft"));
  const Questions questions = read_questions(settings, context, sft);
  Measures measures{.sft = sft, .rewards = {}};
  for (const auto& kind : settings.rewards)
    measures.rewards.emplace(kind, inference::load_scoring_model(context.at("reward:" + kind)));
  if (settings.gold)
    for (const char* kind : {recipe::kGoldHelpfulness, recipe::kGoldSafety})
      measures.rewards.emplace(kind, inference::load_scoring_model(context.at(kind)));
  std::vector<evaluation::ModelAnswers> measured;
  core::JsonlWriter rows(context.work / "answers.jsonl");
  for (size_t model = 0; model < settings.models.size(); ++model) {
    const std::string& name = settings.models[model];
    Answered answered = answer_all(name, measures, questions, settings, context);
    for (size_t i = 0; i < answered.texts.size(); ++i)
      rows.write(answer_row(answered, i, questions));
    answered.measured.version_before = settings.before[model];
    measured.push_back(std::move(answered.measured));
  }
  rows.commit();
  const evaluation::statistics::Bootstrap bootstrap{.seed = context.seed, .replicates = settings.evaluation.replicates};
  nlohmann::json models = nlohmann::json::array(), families = nlohmann::json::array();
  for (const auto& model : evaluation::compare_models(measured, "sft", bootstrap)) {
    models.push_back({{"name", model.name}});
    if (!model.before.empty()) models.back()["before"] = model.before;
    if (!model.version_before.empty()) models.back()["version_before"] = model.version_before;
    for (const auto& [key, interval] : model.measures) {
      models.back()[key] = to_json(interval);
      models.back()["n"][key] = model.counts.at(key);
    }
  }
  for (const auto& family : evaluation::compare_by_family(measured, bootstrap)) {
    families.push_back({{"family", family.family}, {"prompts", family.prompts}});
    for (size_t i = 0; i < measured.size(); ++i)
      families.back()["gold_helpfulness"][measured[i].model] = to_json(family.helpfulness[i]);
  }
  write_cross_evaluation(settings, context);
  core::write_file(context.work / "evaluation.json",
                   core::dump_json({{"models", models}, {"by_family", families}, {"counts", to_json(questions.prompts.counts)}}) + "\n");
}

}  // namespace

void add_evaluation(steps::Plan& plan) {
  const recipe::Recipe& recipe = plan.recipe;
  EvaluationSettings settings{.evaluation = recipe.evaluation,
                              .models = {},
                              .before = {},
                              .rewards = {},
                              .sandbox = recipe::gold_of(recipe) == recipe::Gold::sandbox,
                              .gold = recipe::gold_of(recipe) == recipe::Gold::models,
                              .limit = steps::length_limit(recipe)};
  steps::Inputs inputs = {{"prompts", steps::output_of("data", fmt::format("prompts_{}.jsonl", core::name_of(recipe.evaluation.split)))}};
  for (const auto& [name, stage] : recipe::run_models(recipe)) {
    settings.models.push_back(name);
    settings.before.push_back(recipe::model_of_version_before(plan.versions, stage));
    inputs.push_back({"model:" + name, steps::model_source(recipe, stage)});
  }
  for (const auto& [kind, stage] : recipe::run_reward_models(recipe)) {
    settings.rewards.push_back(kind);
    inputs.push_back({"reward:" + kind, steps::output_of(stage)});
  }
  if (settings.gold)
    for (const char* stage : {recipe::kGoldHelpfulness, recipe::kGoldSafety})
      inputs.push_back({stage, steps::output_of(stage)});
  plan.add(steps::together(steps::make_step("evaluation", settings, std::move(inputs), evaluate, 3)));
}

}  // namespace keel::pipelines::measurement
