// keel refusal train: a classifier of refusals, the scalar head trained on answers that people labelled.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "inference/records.h"
#include "pipelines/stages/commands.h"
#include "refusal/answers.h"
#include "refusal/measure.h"
#include "reward/classifier.h"

namespace keel::pipelines::stages {
namespace {

struct RefusalSettings {
  reward::ClassifierTrainConfig classifier;
  std::string label_field = "label";
  inference::RenderPolicy limit;
};

void visit(RefusalSettings& settings, core::Fields& fields) {
  visit(settings.classifier, fields);
  fields("label_field", settings.label_field, "field of the label: full_refusal, partial_refusal, capability or compliance");
  fields.section("limit", settings.limit, "answers that do not fit, and tags in messages");
}

// Labelled answers as ids. "Yes" is a full or partial refusal. What is left out is counted.
struct Labelled {
  std::vector<reward::LabelledRow> rows;
  std::vector<refusal::Answer> answers;  // of the rows
  int64_t unlabelled = 0, too_long = 0;

  nlohmann::json counts() const {
    int64_t refused = 0;
    for (const auto& row : rows)
      refused += row.yes ? 1 : 0;
    return {{"answers", rows.size()}, {"refusals", refused}, {"unlabelled", unlabelled}, {"too_long", too_long}};
  }
};

Labelled read_labelled(const steps::fs::path& path, const inference::ScoringModel& model, const RefusalSettings& settings) {
  const refusal::AnswerSet set = refusal::read_answers(path, settings.label_field);
  const auto records = inference::dialogues_for(model, set.prompts, {.bos = true, .limit = settings.limit});
  Labelled labelled;
  for (size_t i = 0; i < records.size(); ++i) {
    const auto& label = set.answers[i].label;
    labelled.unlabelled += label ? 0 : 1;
    labelled.too_long += label && !records[i].too_long.empty() ? 1 : 0;
    if (!label || !records[i].too_long.empty()) continue;
    labelled.rows.push_back({.ids = records[i].ids, .yes = refusal::refuses(*label)});
    labelled.answers.push_back(set.answers[i]);
  }
  core::log_info(fmt::format("{}: {}", path.string(), core::dump_json(labelled.counts())));
  if (labelled.rows.empty())
    throw core::DataError(path.string(), 0,
                          fmt::format("no row has a label in \"{}\" (or \"refusal\": true or false) and fits", settings.label_field));
  return labelled;
}

nlohmann::json agreement_on(const Labelled& held_out, const reward::RewardModel& model) {
  std::vector<core::Ids> ids;
  for (const auto& row : held_out.rows)
    ids.push_back(row.ids);
  std::vector<refusal::Kind> kinds;
  for (const double score : reward::score_rows(model, ids))
    kinds.push_back(score > 0 ? refusal::Kind::full_refusal : refusal::Kind::compliance);
  return refusal::summary_json(kinds, held_out.answers).at("agreement");
}

// Leaves a classifier's folder with evaluation.json.
void train(const RefusalSettings& settings, const steps::Context& context) {
  const steps::fs::path folder = context.at("model"), unseen = context.maybe("held_out");
  const inference::LanguageModel chat = inference::load_language_model(folder);
  core::throw_if_any(reward::problems_with(settings.classifier, chat.llama.config));
  const reward::RewardModel classifier = reward::make_reward_model(chat.llama, settings.classifier.head, context.seed);
  const inference::ScoringModel start{.weights = classifier,
                                      .score = reward::scorer_of(classifier),
                                      .shape = classifier.backbone.config,
                                      .tokenizer = chat.tokenizer,
                                      .limit = settings.limit,
                                      .format = chat.format};
  const Labelled labelled = read_labelled(context.at("data"), start, settings);
  nlohmann::json result = {{"counts", {{"train", labelled.counts()}}}};
  std::optional<Labelled> held_out;
  if (!unseen.empty()) held_out = read_labelled(unseen, start, settings);
  reward::train_classifier(classifier, labelled.rows, settings.classifier, context.seed, context.work, "refusal classifier");
  if (held_out) {
    result["counts"]["held_out"] = held_out->counts();
    result["agreement"] = agreement_on(*held_out, classifier);
  }
  core::write_file(context.work / "evaluation.json", core::dump_json(result) + "\n");
  inference::save_scoring_model(context.work, classifier, folder, chat.format,
                                {{"stage", "refusal"}, {"kind", "refusal"}, {"seed", context.seed}}, settings.limit);
}

steps::Step refusal_step(const RefusalSettings& settings, const steps::Inputs& inputs) {
  return steps::together(steps::make_step("refusal", settings, inputs, train));
}

}  // namespace

steps::Command refusal_command() {
  using Kind = steps::Role::Kind;
  return steps::make_command("refusal train", "a classifier of refusals from a chat model and labelled answers",
                             "classifier folder to write",
                             {{"model", "chat model folder to start from", Kind::folder},
                              {"data", "rows {\"prompt\",\"response\"} or {\"messages\"} with a label (.jsonl, .csv, .gz, .zst)"},
                              {"held_out", "the same; measures the result and chooses none of its weights", Kind::file, false}},
                             steps::with_limit({{"--label-field", "label_field"}}), refusal_step);
}

}  // namespace keel::pipelines::stages
