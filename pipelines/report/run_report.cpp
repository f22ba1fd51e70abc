// The last stage: summary.json for programs, report.html for people, the summary table for the terminal.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/metrics.h"
#include "core/version.h"
#include "data/messages.h"
#include "evaluation/assemble.h"
#include "evaluation/report.h"
#include "evaluation/reward_json.h"
#include "evaluation/statistics/interval.h"
#include "evaluation/statistics/json.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/report/reward_section.h"
#include "pipelines/report/summary.h"
#include "pipelines/run/manifest.h"

namespace keel::pipelines::report {
namespace {

namespace fs = std::filesystem;
using evaluation::Section;

const std::vector<evaluation::Measure> kGoldMeasures = {{"gold_helpfulness", "gold helpfulness"}, {"gold_safety", "gold safety"},
                                                        {"violation_rate", "violation rate"},     {"false_refusal_rate", "false refusals"},
                                                        {"win_rate_vs_sft", "win rate vs SFT"},   {"kl_to_sft", "KL to SFT"}};
const std::vector<evaluation::Measure> kRewardMeasures = {{"reward_helpfulness", "helpfulness RM"},
                                                          {"reward_safety", "safety RM"},
                                                          {"reward_win_rate_vs_sft", "RM win rate vs SFT"},
                                                          {"kl_to_sft", "KL to SFT"}};

// What the stages before have left.
struct Results {
  bool gold = false;
  std::vector<evaluation::MeasuredModel> models;
  std::vector<nlohmann::json> rewards;  // evaluation.json of each reward model of the newest version
  nlohmann::json by_family;
  std::vector<nlohmann::json> answers;
  std::vector<std::pair<std::string, double>> seconds;
};

// Of a judge who knows the truth, on the test pairs of all batches together.
double best_possible_accuracy(const recipe::Recipe& recipe, const run::StageContext& context, const std::string& kind) {
  double correct = 0, pairs = 0;
  for (const auto& version : recipe::versions_of(recipe)) {
    const nlohmann::json annotator = core::read_json_file(context.inputs.at(version.preferences) / "annotator.json");
    const auto ceiling = annotator.find(kind == "general" ? "public" : kind);
    if (ceiling == annotator.end()) continue;
    const double count = ceiling->at("pairs").get<double>();
    correct += count * ceiling->at("best_possible_accuracy").get<double>();
    pairs += count;
  }
  return correct / pairs;
}

Results read_results(const recipe::Recipe& recipe, const std::vector<run::Stage>& stages, const run::StageContext& context) {
  Results results{.gold = recipe.data.source == "sandbox", .models = {}, .rewards = {}, .by_family = {}, .answers = {}, .seconds = {}};
  const nlohmann::json measured = core::read_json_file(context.inputs.at("evaluation") / "evaluation.json");
  for (const auto& object : measured.at("models")) {
    evaluation::MeasuredModel model{.name = object.at("name").get<std::string>(), .measures = {}, .counts = {}};
    for (const auto& [key, value] : object.items())
      if (value.is_object() && value.contains("mean")) {
        model.measures[key] = evaluation::statistics::interval_from_json(value);
        model.counts[key] = object.at("n").at(key).get<int64_t>();
      }
    results.models.push_back(std::move(model));
  }
  results.by_family = measured.at("by_family");
  for (const auto& [kind, stage] : recipe::run_reward_models(recipe)) {
    const fs::path folder = context.inputs.at(stage);
    nlohmann::json& reward = results.rewards.emplace_back(core::read_json_file(folder / "evaluation.json"));
    if (reward.contains("unsafe"))  // the stage knows the paper's gate alone
      reward["unsafe"]["at_gate"] = evaluation::detection_json(
          evaluation::unsafe_detection(evaluation::read_scores(folder / "scores.jsonl")), recipe.combination.gate_threshold);
    if (results.gold) reward["best_possible_accuracy"] = best_possible_accuracy(recipe, context, kind);
  }
  core::JsonlReader reader(context.inputs.at("evaluation") / "answers.jsonl");
  for (nlohmann::json row; reader.next(row);)
    results.answers.push_back(row);
  for (const auto& stage : stages)
    if (const auto input = context.inputs.find(stage.name); input != context.inputs.end())
      if (const auto manifest = run::read_manifest(input->second)) results.seconds.emplace_back(stage.name, manifest->seconds);
  return results;
}

nlohmann::json summary_json(const Results& results) {
  nlohmann::json models = nlohmann::json::array(), rewards = nlohmann::json::array(), seconds = nlohmann::json::object();
  for (const auto& model : results.models) {
    models.push_back({{"name", model.name}});
    for (const auto& [key, interval] : model.measures)
      models.back()[key] = to_json(interval);
  }
  for (const auto& reward : results.rewards) {
    nlohmann::json accuracy = reward.at("accuracy");
    accuracy.erase("pairs");
    rewards.push_back({{"name", reward.at("name")}, {"accuracy", accuracy}});
    if (results.gold) rewards.back()["best_possible_accuracy"] = reward.at("best_possible_accuracy");
    if (reward.contains("unsafe")) rewards.back()["unsafe_at_gate"] = reward.at("unsafe").at("at_gate");
    if (reward.contains("kept")) rewards.back()["kept"] = reward.at("kept");
  }
  for (const auto& [stage, time] : results.seconds)
    seconds[stage] = time;
  return {{"models", models}, {"reward_models", rewards}, {"seconds_by_stage", seconds}};
}

Section loss_section(const recipe::Recipe& recipe, const Results& results, const run::StageContext& context) {
  Section section{.heading = "Training",
                  .text = "Losses in nats a target. Where there is a held-out loss, the weights of its lowest point are kept.",
                  .blocks = {}};
  const auto versions = recipe::versions_of(recipe);
  std::vector<std::string> trained = {"base", "sft"};
  for (const auto& version : versions)
    if (!version.rejection.empty()) trained.push_back(version.rejection);
  for (const auto& stage : trained) {
    const auto input = context.inputs.find(stage);
    if (input == context.inputs.end()) continue;
    const auto points = core::read_metrics(input->second / "metrics.jsonl");
    evaluation::LinePlot plot{.title = fmt::format("{}: loss", stage),
                              .x_label = "optimiser step",
                              .y_label = "loss (nats a target)",
                              .series = {evaluation::metric_series("training", points, "loss")},
                              .references = {},
                              .note = {}};
    if (auto held_out = evaluation::metric_series("held out", points, "eval_loss"); !held_out.x.empty()) plot.series.push_back(held_out);
    section.blocks.push_back(plot);
  }
  const auto rewards = recipe::run_reward_models(recipe);
  for (size_t i = 0; i < rewards.size(); ++i) {
    const auto& [kind, stage] = rewards[i];
    const auto points = core::read_metrics(context.inputs.at(stage) / "metrics.jsonl");
    const bool used = !results.rewards[i].contains("kept");  // else the curve is that of a model that was not as good
    section.blocks.push_back(
        evaluation::LinePlot{.title = fmt::format("{} reward model{}: loss", kind, used ? "" : " (retrained, not used)"),
                             .x_label = "optimiser step",
                             .y_label = "ranking loss (nats a pair)",
                             .series = {evaluation::metric_series("training", points, "loss")},
                             .references = {},
                             .note = {}});
  }
  return section;
}

std::vector<evaluation::SampleGroup> by_model(const Results& results, const std::string& key) {
  std::vector<evaluation::SampleGroup> groups;
  for (const auto& model : results.models) {
    if (model.name == "base") continue;
    groups.push_back({.name = model.name, .values = {}});
    for (const auto& row : results.answers)
      if (row.at("model") == model.name) groups.back().values.push_back(row.at(key).get<double>());
  }
  return groups;
}

// A third model, which chooses nothing, sees when the policy pleases the two that do and nobody else.
evaluation::Table guard_table(const std::vector<evaluation::MeasuredModel>& tuned, const std::vector<std::string>& kinds) {
  std::vector<evaluation::Measure> views;
  for (const auto& kind : kinds)
    views.push_back({"reward_" + kind, kind});
  evaluation::Table table = evaluation::measure_table("Reward models' views", views, tuned);
  table.note =
      "Helpfulness and safety choose the answers; the general model, trained on public-style pairs, has no say and guards against their "
      "drift.";
  if (const auto drifting = evaluation::drifting_models(tuned); !drifting.empty())
    table.note += fmt::format(" Alarm: {} above sft by both that choose and not by the general one.", fmt::join(drifting, ", "));
  return table;
}

Section distribution_section(const recipe::Recipe& recipe, const Results& results) {
  Section section{.heading = "Scores before and after",
                  .text = "Reward-model probabilities of the answers to held-out prompts, sampled at temperature 1.",
                  .blocks = {}};
  std::vector<std::string> kinds;
  for (const auto& [kind, stage] : recipe::run_reward_models(recipe)) {
    kinds.push_back(kind);
    section.blocks.push_back(evaluation::HistogramPlot{.title = fmt::format("{} reward model", kind),
                                                       .x_label = fmt::format("{} probability", kind),
                                                       .groups = by_model(results, "reward_" + kind),
                                                       .references = {},
                                                       .note = {}});
  }
  std::vector<evaluation::MeasuredModel> tuned;  // sft and what came of it
  std::copy_if(results.models.begin(), results.models.end(), std::back_inserter(tuned),
               [](const auto& model) { return model.name != "base"; });
  if (recipe::has_general_reward(recipe)) section.blocks.push_back(guard_table(tuned, kinds));
  if (!results.gold) return section;
  for (const auto& [gold, proxy, hazard] :
       {std::tuple{"gold_helpfulness", "reward_helpfulness", false}, {"gold_safety", "reward_safety", true}}) {
    evaluation::ScatterPlot plot{.title = hazard ? "Gold against proxy: safety on hazards" : "Gold against proxy: helpfulness",
                                 .x_label = "reward model probability",
                                 .y_label = "gold score",
                                 .groups = {},
                                 .note = "Where the cloud is flat, the proxy can be raised without the truth."};
    for (const auto& model : results.models) {
      plot.groups.push_back({.name = model.name, .x = {}, .y = {}, .low = {}, .high = {}});
      for (const auto& row : results.answers)
        if (row.at("model") == model.name && row.at("hazard").get<bool>() == hazard) {
          plot.groups.back().x.push_back(row.at(proxy).get<double>());
          plot.groups.back().y.push_back(row.at(gold).get<double>());
        }
    }
    section.blocks.push_back(plot);
  }
  return section;
}

// Paper, figure 7: the best of the first n answers grows with n, the median does not.
Section selection_section(const recipe::Recipe& recipe, const run::StageContext& context) {
  Section section{.heading = "Rejection sampling",
                  .text =
                      "What the best of n answers gains over a typical one, by the reward models that choose it. Bands are 95 % bootstrap "
                      "intervals over prompts.",
                  .blocks = {},
                  .small = recipe.versions.size() > 1};
  for (const auto& version : recipe::versions_of(recipe)) {
    if (version.rejection.empty()) continue;
    evaluation::LinePlot plot{
        .title = fmt::format("{}: reward of the first n answers of {}", version.rejection, version.newest),
        .x_label = "n",
        .y_label = fmt::format("{} probability, mean over prompts", recipe.rejection.score),
        .series = {{.name = "best", .x = {}, .y = {}, .low = {}, .high = {}}, {.name = "median", .x = {}, .y = {}, .low = {}, .high = {}}},
        .references = {},
        .note = {}};
    const nlohmann::json selection = core::read_json_file(context.inputs.at(version.rejection) / "selection.json");
    for (const auto& row : selection.at("scores_by_count"))
      for (const auto& [series, key] : {std::pair{&plot.series[0], "maximum"}, {&plot.series[1], "median"}})
        evaluation::add_point(*series, row.at("answers").get<double>(), evaluation::statistics::interval_from_json(row.at(key)));
    section.blocks.push_back(plot);
  }
  return section;
}

// Paper, figure 8: the best temperature moves as a model is aligned.
Section best_of_section(const run::StageContext& context) {
  Section section{.heading = "Best of n by temperature",
                  .text =
                      "Reward of the best and of the median of the first n answers to held-out prompts, at several sampling temperatures. "
                      "Bands are 95 % bootstrap intervals over prompts.",
                  .blocks = {},
                  .small = true};
  const nlohmann::json study = core::read_json_file(context.inputs.at("best_of") / "best_of.json");
  std::map<std::pair<std::string, std::string>, evaluation::LinePlot> curves;  // by model and statistic
  evaluation::LinePlot best{
      .title = "Best temperature", .x_label = "n", .y_label = "temperature of the best answer", .series = {}, .references = {}, .note = {}};
  std::vector<std::string> order;
  for (const auto& row : study.at("curves")) {
    const std::string model = row.at("model");
    if (order.empty() || order.back() != model) order.push_back(model);
    for (const auto& [statistic, title] : {std::pair{"maximum", "best of n"}, {"median", "median of n"}}) {
      auto& plot = curves[{model, statistic}];
      plot.title = fmt::format("{}: {}", model, title);
      plot.x_label = "n";
      plot.y_label = "combined probability, mean over prompts";
      auto& series = plot.series.emplace_back();
      series.name = fmt::format("T = {}", row.at("temperature").get<double>());
      for (const auto& count : row.at("scores_by_count"))
        evaluation::add_point(series, count.at("answers").get<double>(), evaluation::statistics::interval_from_json(count.at(statistic)));
    }
  }
  for (const auto& row : study.at("best_temperature")) {
    const std::string model = row.at("model");
    if (best.series.empty() || best.series.back().name != model) best.series.push_back({model, {}, {}, {}, {}});
    evaluation::add_point(best.series.back(), row.at("answers").get<double>(),
                          {row.at("temperature").get<double>(), row.at("low").get<double>(), row.at("high").get<double>()});
  }
  for (const auto& model : order)
    for (const char* statistic : {"maximum", "median"})
      section.blocks.push_back(curves.at({model, statistic}));
  section.blocks.push_back(best);
  return section;
}

// What each family of prompts gained and lost from model to model; a skill that later prompts leave out shows here.
Section family_section(const Results& results) {
  Section section{.heading = "Skills", .text = "Gold helpfulness by family of prompts.", .blocks = {}};
  evaluation::Table table{.title = "", .columns = {{"family"}, {"prompts", evaluation::ColumnKind::number}}, .rows = {}, .note = {}};
  for (const auto& model : results.models)
    table.columns.push_back({model.name, evaluation::ColumnKind::number});
  for (const auto& row : results.by_family) {
    table.rows.push_back({row.at("family").get<std::string>(), fmt::format("{}", row.at("prompts").get<int64_t>())});
    for (const auto& model : results.models)
      table.rows.back().push_back(
          evaluation::interval_cell(evaluation::statistics::interval_from_json(row.at("gold_helpfulness").at(model.name))));
  }
  section.blocks.push_back(table);
  return section;
}

Section win_section(const Results& results) {
  Section section{.heading = "Win rates against SFT",
                  .text =
                      "Share of held-out prompts on which the model's answer beats the SFT model's; ties count half. 95 % bootstrap "
                      "intervals over prompts.",
                  .blocks = {}};
  if (results.gold)
    section.blocks.push_back(
        evaluation::measure_plot("Gold judge", {"win_rate_vs_sft", "win rate"}, results.models, {{.value = 0.5, .label = "no change"}}));
  section.blocks.push_back(evaluation::measure_plot("Reward models", {"reward_win_rate_vs_sft", "win rate"}, results.models,
                                                    {{.value = 0.5, .label = "no change"}}));
  if (results.gold)
    for (const auto& [key, title] :
         {std::pair{"gold_helpfulness_vs_sft", "Gold helpfulness less SFT's"}, {"gold_safety_vs_sft", "Gold safety less SFT's"}})
      section.blocks.push_back(
          evaluation::measure_plot(title, {key, "paired difference"}, results.models, {{.value = 0.0, .label = "no change"}}));
  return section;
}

Section ppo_section(const run::StageContext& context, const std::string& stage) {
  Section section{.heading = stage == "ppo" ? "PPO" : "PPO: " + stage, .text = "One point an iteration.", .blocks = {}, .small = true};
  const auto points = core::read_metrics(context.inputs.at(stage) / "metrics.jsonl");
  for (const auto& [metric, title, unit] : {std::tuple{"objective/scores", "Reward", "mean combined probability"},
                                            {"objective/kl", "KL to the reference", "nats an answer"},
                                            {"objective/entropy", "Entropy", "nats an answer"},
                                            {"response_length/mean", "Answer length", "tokens"},
                                            {"policy/clipfrac_avg", "Clipped share", "share of tokens"},
                                            {"critic/vf_explained_var", "Explained variance of the critic", "share"},
                                            {"loss/value_avg", "Value loss", "squared error"},
                                            {"eval/scores", "Reward on held-out prompts", "mean combined probability"},
                                            {"eval/kl", "KL on held-out prompts", "nats an answer"},
                                            {"objective/gate_share", "Caught by the gate", "share of answers to other prompts"},
                                            {"whiten/advantages_std", "What whitening divides advantages by", "standard deviation"},
                                            {"rollout/logprob_drift_max", "Engine against trainer", "largest difference, nats"},
                                            {"policy/approxkl_avg", "KL of one update", "nats a token"}}) {
    const auto plot = evaluation::metric_plot(title, unit, points, metric);
    if (!plot.series.front().x.empty()) section.blocks.push_back(plot);
  }
  return section;
}

Section dialogue_section(const recipe::Recipe& recipe, const Results& results) {
  Section section{.heading = "Sample dialogues",
                  .text = "The same held-out prompts answered by every model, evenly spread over the test set.",
                  .blocks = {}};
  const size_t prompts = results.answers.size() / results.models.size(),
               shown = std::min(prompts, static_cast<size_t>(recipe.evaluation.shown_dialogues));
  for (size_t i = 0; i < shown; ++i) {
    const size_t prompt = i * prompts / shown;
    const auto& first = results.answers[prompt];
    evaluation::SampleDialogue dialogue{
        .title =
            fmt::format("{}{}", first.at("hazard").get<bool>() ? "hazard" : "harmless",
                        first.contains("family") && !first.at("hazard").get<bool>() ? ": " + first.at("family").get<std::string>() : ""),
        .prompt = data::parse_messages(first.at("messages"), "messages").messages,
        .answers = {}};
    for (size_t model = 0; model < results.models.size(); ++model) {
      const auto& row = results.answers[model * prompts + prompt];
      evaluation::ModelAnswer answer{.model = row.at("model").get<std::string>(), .text = row.at("text").get<std::string>(), .scores = {}};
      for (const auto& [key, label] : {std::pair{"gold_helpfulness", "gold helpfulness"},
                                       {"gold_safety", "gold safety"},
                                       {"reward_helpfulness", "helpfulness RM"},
                                       {"reward_safety", "safety RM"},
                                       {"reward_general", "general RM"}})
        if (row.contains(key)) answer.scores.emplace_back(label, row.at(key).get<double>());
      dialogue.answers.push_back(std::move(answer));
    }
    section.blocks.push_back(dialogue);
  }
  return section;
}

Section record_section(const recipe::Recipe& recipe, const std::vector<run::Stage>& stages, const Results& results,
                       const run::StageContext& context) {
  using evaluation::ColumnKind;
  Section section{.heading = "Record", .text = {}, .blocks = {}};
  evaluation::Table settings{.title = "Settings that differ from the paper's defaults",
                             .columns = {{"setting", ColumnKind::code}, {"here"}, {"default"}},
                             .rows = {},
                             .note = {}};
  for (const auto& difference : recipe::departures(recipe))
    settings.rows.push_back({difference.name, difference.a, difference.b});
  evaluation::GraphPlot lineage{.title = "Lineage",
                                .nodes = {},
                                .note =
                                    "Beside each step the digests of its key (settings, seed and contents of its inputs) and of what it "
                                    "left, and those of files from "
                                    "outside of the run. keel lineage prints them all."};
  std::map<std::string, size_t> places;
  for (const auto& stage : stages) {
    const auto input = context.inputs.find(stage.name);
    const auto manifest = input == context.inputs.end() ? std::nullopt : run::read_manifest(input->second);
    if (!manifest) continue;
    evaluation::GraphPlot::Node node{
        .name = stage.name,
        .detail = fmt::format("{} {}", manifest->key.substr(0, 12), run::content_digest(manifest->outputs).substr(0, 12)),
        .inputs = {}};
    const nlohmann::json material = core::parse_json(manifest->material, "key material");
    for (const auto& [role, digest] : material.at("external").items())
      node.detail += fmt::format(", {} {}", role, digest.get<std::string>().substr(0, 12));
    for (const auto& parent : stage.inputs)
      node.inputs.push_back(places.at(parent));
    places[stage.name] = lineage.nodes.size();
    lineage.nodes.push_back(std::move(node));
  }
  section.blocks = {evaluation::time_plot("Time by stage", results.seconds), settings, lineage};
  return section;
}

evaluation::Table summary_table(bool gold, const std::vector<evaluation::MeasuredModel>& models) {
  return evaluation::measure_table("", gold ? kGoldMeasures : kRewardMeasures, models);
}

}  // namespace

void write_run_report(const recipe::Recipe& recipe, const std::vector<run::Stage>& stages, const run::StageContext& context) {
  const Results results = read_results(recipe, stages, context);
  core::write_file(context.work / "summary.json", summary_json(results).dump(2) + "\n");
  evaluation::Report report{
      .title = "keel run: " + recipe.name,
      .subtitle = "From a base model to an aligned one, measured on held-out prompts",
      .facts = {{"recipe", recipe.name}, {"seed", fmt::format("{}", recipe.seed)}, {"data", recipe.data.source}, {"keel", core::kVersion}},
      .models = {},
      .summary = summary_table(results.gold, results.models),
      .sections = {}};
  for (const auto& model : results.models)
    report.models.push_back(model.name);
  report.summary.note = "Means over held-out prompts with 95 % bootstrap intervals; KL in nats an answer at temperature 1.";
  report.sections = {win_section(results),
                     reward_model_section(results.rewards, recipe::run_reward_models(recipe), context, recipe.combination.gate_threshold),
                     distribution_section(recipe, results)};
  if (auto selection = selection_section(recipe, context); !selection.blocks.empty()) report.sections.push_back(std::move(selection));
  report.sections.push_back(loss_section(recipe, results, context));
  for (const auto& version : recipe::versions_of(recipe))
    if (!version.ppo.empty()) report.sections.push_back(ppo_section(context, version.ppo));
  if (context.inputs.contains("best_of")) report.sections.push_back(best_of_section(context));
  if (results.gold) report.sections.push_back(family_section(results));
  report.sections.push_back(dialogue_section(recipe, results));
  report.sections.push_back(record_section(recipe, stages, results, context));
  core::write_file(context.work / "report.html", evaluation::render_html(report));
}

std::string summary_text(const fs::path& summary) {
  const nlohmann::json object = core::read_json_file(summary);
  std::vector<evaluation::MeasuredModel> models;
  bool gold = false;
  for (const auto& row : object.at("models")) {
    models.push_back({.name = row.at("name").get<std::string>(), .measures = {}, .counts = {}});
    gold = gold || row.contains("gold_safety");
    for (const auto& [key, value] : row.items())
      if (value.is_object()) models.back().measures[key] = evaluation::statistics::interval_from_json(value);
  }
  std::string text = evaluation::render_text(summary_table(gold, models));
  for (const auto& reward : object.at("reward_models")) {
    const auto accuracy = evaluation::statistics::interval_from_json(reward.at("accuracy"));
    text += fmt::format("{} reward model: held-out accuracy {:.3f} [{:.3f}, {:.3f}]", reward.at("name").get<std::string>(), accuracy.mean,
                        accuracy.low, accuracy.high);
    if (reward.contains("best_possible_accuracy"))
      text += fmt::format(", best possible {:.3f}", reward.at("best_possible_accuracy").get<double>());
    if (reward.contains("kept")) text += fmt::format("; {} stays", reward.at("kept").get<std::string>());
    text += "\n";
  }
  return text;
}

}  // namespace keel::pipelines::report
