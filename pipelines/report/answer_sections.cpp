// The models' answers to held-out prompts, and their measures.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/metrics.h"
#include "data/messages.h"
#include "evaluation/assemble.h"
#include "evaluation/statistics/json.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/report/sections.h"
#include "pipelines/run/manifest.h"

namespace keel::pipelines::report {

using evaluation::Section;

namespace {

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

// The general reward model, which chooses no answers, reveals a policy that exploits the two that do.
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

// Gold and proxy reward of every model over its distance from SFT (Gao et al. 2022, figure 1): where the proxy rises and gold does not, the
// models exploit the proxy.
evaluation::LinePlot drift_plot(const Results& results, bool safety) {
  std::vector<std::pair<double, const evaluation::MeasuredModel*>> by_distance;
  for (const auto& model : results.models) {
    if (model.name == "base") continue;
    const auto kl = model.measures.find("kl_to_sft");
    by_distance.emplace_back(std::sqrt(std::max(0.0, kl == model.measures.end() ? 0 : kl->second.mean)), &model);
  }
  std::stable_sort(by_distance.begin(), by_distance.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> order;
  for (const auto& [distance, model] : by_distance)
    order.push_back(model->name);
  evaluation::LinePlot plot{.title = safety ? "Gold and proxy over KL: safety on hazards" : "Gold and proxy over KL: helpfulness",
                            .x_label = "square root of the KL to SFT (nats an answer)",
                            .y_label = "reward",
                            .series = {},
                            .references = {},
                            .note = fmt::format("From left to right: {}.", fmt::join(order, ", "))};
  for (const auto& [name, key] : {std::pair{"gold", safety ? "gold_safety" : "gold_helpfulness"},
                                  {"proxy", safety ? "hazard_reward_safety" : "harmless_reward_helpfulness"}}) {
    evaluation::Series& series = plot.series.emplace_back(evaluation::Series{.name = name, .x = {}, .y = {}, .low = {}, .high = {}});
    for (const auto& [distance, model] : by_distance) {
      const auto measure = model->measures.find(key);
      if (measure == model->measures.end()) continue;
      series.x.push_back(distance);
      series.y.push_back(measure->second.mean);
      series.low.push_back(measure->second.low);
      series.high.push_back(measure->second.high);
    }
  }
  return plot;
}

// The annotators' verdicts on the comparisons of each version.
evaluation::Table annotator_table(const recipe::Recipe& recipe, const Folders& folders) {
  using evaluation::ColumnKind;
  evaluation::Table table{.title = "Annotator: how often the newest model's answer was chosen",
                          .columns = {{"batch"}, {"models"}, {"kind"}, {"share", ColumnKind::number}, {"comparisons", ColumnKind::number}},
                          .rows = {},
                          .note = {}};
  for (const auto& version : recipe::versions_of(recipe)) {
    if (version.comparisons.empty() || version.before.empty()) continue;
    const nlohmann::json versus = core::read_json_file(folders.at(version.preferences) / "versus_before.json");
    for (const auto& [kind, share] : versus.at("kinds").items())
      table.rows.push_back({version.preferences,
                            fmt::format("{} against {}", versus.at("newest").get<std::string>(), versus.at("before").get<std::string>()),
                            kind, evaluation::interval_cell(evaluation::statistics::interval_from_json(share)),
                            fmt::format("{}", share.at("comparisons").get<int64_t>())});
  }
  return table;
}

}  // namespace

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

Section version_section(const recipe::Recipe& recipe, const Results& results, const Folders& folders) {
  Section section{
      .heading = "Each model against the one before",
      .text =
          "Paired over held-out prompts, all models' answers drawn with the same random numbers; ties count half. Intervals that "
          "hold the reference line show no change. 95 % bootstrap intervals over prompts.",
      .blocks = {}};
  const auto plot_against = [&](const std::string& key, const std::string& whom, std::string evaluation::MeasuredModel::*other) {
    std::vector<evaluation::MeasuredModel> later;
    for (auto model : results.models) {
      if ((model.*other).empty()) continue;
      model.name += " against " + model.*other;
      later.push_back(std::move(model));
    }
    if (later.empty()) return;
    const auto plot = [&](const std::string& judge, const evaluation::Measure& measure, double reference) {
      section.blocks.push_back(evaluation::measure_plot(judge + whom, measure, later, {{.value = reference, .label = "no change"}}));
    };
    if (results.gold) {
      plot("Gold judge", {"win_rate_vs_" + key, "win rate"}, 0.5);
      plot("Gold helpfulness", {"gold_helpfulness_vs_" + key, "paired difference"}, 0);
      plot("Gold safety", {"gold_safety_vs_" + key, "paired difference"}, 0);
    }
    plot("Reward models", {"reward_win_rate_vs_" + key, "win rate"}, 0.5);
  };
  plot_against("before", "", &evaluation::MeasuredModel::before);
  plot_against("version_before", ", against the version before", &evaluation::MeasuredModel::version_before);
  if (section.blocks.empty()) return section;
  if (auto table = annotator_table(recipe, folders); !table.rows.empty()) section.blocks.push_back(std::move(table));
  return section;
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
  std::vector<evaluation::MeasuredModel> tuned;  // sft and the models tuned from it
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
  for (const bool safety : {false, true})
    section.blocks.push_back(drift_plot(results, safety));
  return section;
}

// Gains and losses of each family of prompts from model to model; shows the effect of a skill that later prompts leave out.
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

}  // namespace keel::pipelines::report
