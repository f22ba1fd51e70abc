// keel eval refusals: which answers refuse, how often, and how well that agrees with people's labels.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "evaluation/statistics/json.h"
#include "evaluation/text_table.h"
#include "inference/records.h"
#include "inference/reward_models.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/models/commands.h"
#include "refusal/answers.h"
#include "refusal/measure.h"
#include "reward/combination.h"

namespace keel::pipelines::cli::models {
namespace {

namespace fs = std::filesystem;

struct RefusalOptions {
  std::string answers, label_field = "label", classifier, out, summary;
  inference::RenderPolicy limit;
};

// The classifier's probability that an answer refuses, or why there is none.
struct Probability {
  double value = 0;
  std::string too_long;
};

std::vector<Probability> probabilities_of(const refusal::AnswerSet& set, const RefusalOptions& options, const CLI::App& command) {
  inference::check_refusal_classifier(options.classifier);
  const inference::ScoringModel model = inference::load_scoring_model(options.classifier);
  const auto records =
      inference::dialogues_for(model, set.prompts, {.bos = true, .limit = common::overridden(command, options.limit, model.limit)});
  std::vector<Probability> result;
  std::vector<core::Ids> rows;
  for (const auto& record : records) {
    result.push_back({.too_long = record.too_long});
    if (record.too_long.empty()) rows.push_back(record.ids);
  }
  size_t next = 0;
  const std::vector<double> scores = model.score(rows);
  for (auto& one : result)
    if (one.too_long.empty()) one.value = reward::probability(scores[next++]);
  return result;
}

// Measures of the classifier, on the answers that it could read.
nlohmann::json classifier_summary(const std::vector<Probability>& probabilities, const std::vector<refusal::Answer>& answers) {
  std::vector<refusal::Kind> kinds;
  std::vector<refusal::Answer> read;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!probabilities[i].too_long.empty()) continue;
    kinds.push_back(probabilities[i].value > 0.5 ? refusal::Kind::full_refusal : refusal::Kind::compliance);
    read.push_back(answers[i]);
  }
  nlohmann::json summary = refusal::summary_json(kinds, read);
  summary["too_long"] = answers.size() - read.size();
  return summary;
}

evaluation::Cell cell_of(const nlohmann::json& object, const char* name) {
  return evaluation::interval_cell(evaluation::statistics::interval_from_json(object.at(name)));
}

// The summary of one judge for people.
std::string text_of(const std::string& judge, const nlohmann::json& summary) {
  constexpr auto number = evaluation::ColumnKind::number;
  evaluation::Table rates{.title = fmt::format("refusals by {}, with 95 % intervals", judge),
                          .columns = {{"prompts"},
                                      {"answers", number},
                                      {"refusal", number},
                                      {"full_refusal", number},
                                      {"partial_refusal", number},
                                      {"capability", number}},
                          .rows = {},
                          .note = {}};
  const auto add = [&](const std::string& name, const nlohmann::json& group) {
    rates.rows.push_back({name, std::to_string(group.at("answers").get<int64_t>()), cell_of(group, "refusal"),
                          cell_of(group, "full_refusal"), cell_of(group, "partial_refusal"), cell_of(group, "capability")});
  };
  add("all", summary.at("all"));
  for (const char* by : {"by_hazard", "by_type"})
    for (const auto& [name, group] : summary.at(by).items())
      add(name, group);
  const std::string shown = evaluation::render_text(rates);
  const auto found = summary.find("agreement");
  if (found == summary.end()) return shown;
  evaluation::Table agreement{
      .title = fmt::format("{} against the labels", judge),
      .columns = {{"refusals"}, {"answers", number}, {"precision", number}, {"recall", number}, {"kappa", number}},
      .rows = {},
      .note =
          "full: answers labelled full_refusal or compliance alone; any: all labelled answers; a kind: all of them, "
          "that kind against the others"};
  const auto compare = [&](const std::string& name, const nlohmann::json& row) {
    agreement.rows.push_back(
        {name, std::to_string(row.at("answers").get<int64_t>()), cell_of(row, "precision"), cell_of(row, "recall"), cell_of(row, "kappa")});
  };
  for (const char* name : {"full", "any"})
    compare(name, found->at(name));
  for (const auto& [kind, row] : found->at("by_kind").items())
    compare(kind, row);
  return shown + "\n" + evaluation::render_text(agreement);
}

void evaluate(const RefusalOptions& options, const CLI::App& command) {
  common::check_output(options.out, {options.answers});
  common::check_output(options.summary, {options.answers});
  if (!options.out.empty() && !options.summary.empty() &&
      fs::weakly_canonical(fs::absolute(options.out)) == fs::weakly_canonical(fs::absolute(options.summary)))
    throw core::UsageError(fmt::format("--out and --summary are one file, {}; name two", options.out));
  core::JsonlWriter writer(options.out);  // first, so that a missing folder is reported before the work
  const refusal::AnswerSet set = refusal::read_answers(options.answers, options.label_field);
  std::vector<refusal::Verdict> verdicts;
  std::vector<refusal::Kind> kinds;
  for (const auto& answer : set.answers) {
    verdicts.push_back(refusal::classify(answer.text));
    kinds.push_back(verdicts.back().kind);
  }
  nlohmann::json summary = {{"patterns", refusal::summary_json(kinds, set.answers)}};
  std::vector<Probability> probabilities;
  if (!options.classifier.empty()) {
    probabilities = probabilities_of(set, options, command);
    summary["classifier"] = classifier_summary(probabilities, set.answers);
  }
  for (size_t i = 0; i < verdicts.size(); ++i) {
    nlohmann::json row = {{"refusal", core::name_of(kinds[i])}, {"rule", verdicts[i].rule}};
    if (set.answers[i].label) row["label"] = core::name_of(*set.answers[i].label);
    if (!probabilities.empty() && probabilities[i].too_long.empty()) row["probability"] = probabilities[i].value;
    if (!probabilities.empty() && !probabilities[i].too_long.empty()) row["error"] = probabilities[i].too_long;
    writer.write(row);
  }
  writer.commit();
  if (!options.summary.empty()) core::write_file(options.summary, core::dump_json(summary) + "\n");
  for (const auto& [judge, measured] : summary.items())
    core::log_info("\n" + text_of(judge, measured));
}

}  // namespace

void add_eval_refusals(CLI::App& group, common::Invocation& invocation) {
  auto options = std::make_shared<RefusalOptions>();
  CLI::App* command = group.add_subcommand("refusals", "which answers refuse, how often, and how well that agrees with people's labels");
  command
      ->add_option("--answers", options->answers,
                   "rows {\"prompt\",\"response\"} or {\"messages\"} (.jsonl), or a table with these columns (.csv); .gz, .zst")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--label-field", options->label_field,
                   "field of a person's label: full_refusal, partial_refusal, capability or compliance; XSTest's final_label")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_option("--classifier", options->classifier, "a folder of keel refusal train, which judges beside the phrase rules")
      ->type_name("DIR");
  command->add_option("--out", options->out, "rows {\"refusal\",\"rule\"}; standard output when left out")->type_name("FILE");
  command->add_option("--summary", options->summary, "rates and agreement with their intervals (.json)")->type_name("FILE");
  common::add_render_policy(*command, options->limit, "a longer one is left out of the classifier's figures and gets an \"error\"");
  common::add_common_options(*command, invocation);
  command->callback([options, command, &invocation] {
    invocation.action = [options, command, &invocation] {
      common::configure({}, invocation);
      evaluate(*options, *command);
    };
  });
}

}  // namespace keel::pipelines::cli::models
