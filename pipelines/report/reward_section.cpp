#include "pipelines/report/reward_section.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/json.h"
#include "evaluation/assemble.h"
#include "evaluation/reward_json.h"
#include "evaluation/statistics/json.h"
#include "reward/combination.h"

namespace keel::pipelines::report {
namespace {

using evaluation::ScoredPair;
using evaluation::Section;
using evaluation::Series;

evaluation::IntervalPlot accuracy_plot(const std::string& name, const nlohmann::json& model) {
  evaluation::IntervalPlot plot{.title = name + " reward model: accuracy",
                                .x_label = "share of pairs ranked as the annotator did",
                                .rows = {},
                                .references = {{.value = 0.5, .label = "chance"}},
                                .digits = 2,
                                .note = {}};
  const auto add = [&](const nlohmann::json& row, const std::string& label, const std::string& group) {
    plot.rows.push_back(
        {.label = label, .interval = evaluation::statistics::interval_from_json(row), .n = row.at("pairs").get<int64_t>(), .group = group});
  };
  add(model.at("accuracy"), "all pairs", {});
  for (const auto& [key, group] : {std::pair{"by_strength", "by strength"},
                                   {"by_source", "by source"},
                                   {"by_batch", "by batch"},
                                   {"by_safety", "by the safety of the answers"}}) {
    const auto rows = model.find(key);
    if (rows == model.end() || rows->size() < 2) continue;  // a single group repeats "all pairs"
    for (const auto& row : *rows)
      add(row, row.at("name").get<std::string>(), group);
  }
  if (const auto best = model.find("best_possible_accuracy"); best != model.end()) {
    plot.references.push_back({.value = best->get<double>(), .label = "best possible"});
    plot.note = "Best possible: what a judge who knows the truth would reach against this annotator's noisy choices, on all pairs.";
  }
  if (const auto kept = model.find("kept"); kept != model.end())
    plot.note += fmt::format("{}The model is that of {}, which stays: retraining reached {:.3f}.", plot.note.empty() ? "" : " ",
                             kept->get<std::string>(), model.at("retrained_accuracy").at("mean").get<double>());
  return plot;
}

evaluation::LinePlot reliability_plot(const std::string& name, const nlohmann::json& model) {
  const auto& calibration = model.at("calibration");
  Series measured{.name = "measured", .x = {}, .y = {}, .low = {}, .high = {}};
  for (const auto& bin : calibration.at("bins"))
    evaluation::add_point(measured, bin.at("confidence").get<double>(), evaluation::statistics::interval_from_json(bin.at("accuracy")));
  const auto chance = evaluation::statistics::interval_from_json(calibration.at("error_by_chance")),
             temperature = evaluation::statistics::interval_from_json(model.at("intervals").at("temperature"));
  return {.title = name + " reward model: reliability",
          .x_label = "stated probability: sigmoid of the scores' distance",
          .y_label = "share where the higher score was chosen",
          .series = {measured, {.name = "perfect", .x = measured.x, .y = measured.x, .low = {}, .high = {}}},
          .references = {},
          .note = fmt::format(
              "n counts bins. Expected calibration error {:.3f}; perfect calibration would show {:.3f} [{:.3f}, {:.3f}] on these pairs by "
              "chance. Dividing differences by {:.2f} [{:.2f}, {:.2f}] calibrates best: {:.3f} nats a pair become {:.3f}.",
              calibration.at("error").get<double>(), chance.mean, chance.low, chance.high, temperature.mean, temperature.low,
              temperature.high, model.at("loss").get<double>(), calibration.at("loss_at_temperature").get<double>())};
}

evaluation::HistogramPlot score_plot(const std::string& name, const std::vector<ScoredPair>& pairs) {
  evaluation::HistogramPlot plot{.title = name + " reward model: scores of held-out answers",
                                 .x_label = "raw score (0 is a probability of 0.5)",
                                 .groups = {{.name = "chosen", .values = {}}, {.name = "rejected", .values = {}}},
                                 .references = {},
                                 .note = {}};
  for (const ScoredPair& pair : pairs) {
    plot.groups[0].values.push_back(pair.chosen);
    plot.groups[1].values.push_back(pair.rejected);
  }
  return plot;
}

// The margin pushes these apart (paper, A.3.3 and figure 27).
evaluation::HistogramPlot difference_plot(const std::string& name, const std::vector<ScoredPair>& pairs) {
  evaluation::HistogramPlot plot{.title = name + " reward model: chosen less rejected",
                                 .x_label = "difference of raw scores",
                                 .y_label = "share of pairs",
                                 .groups = {},
                                 .references = {{.value = 0, .label = "wrong below"}},
                                 .note = {}};
  for (const auto& [strength, label] :
       {std::pair{4, "significantly better"}, {3, "better"}, {2, "slightly"}, {1, "negligibly"}, {0, "not recorded"}}) {
    evaluation::SampleGroup group{.name = label, .values = {}};
    for (const ScoredPair& pair : pairs)
      if (pair.strength == strength) group.values.push_back(pair.chosen - pair.rejected);
    if (!group.values.empty()) plot.groups.push_back(std::move(group));
  }
  return plot;
}

std::string percent_text(const nlohmann::json& share) {
  const auto interval = evaluation::statistics::interval_from_json(share);
  return fmt::format("{:.0f} % [{:.0f}, {:.0f}]", 100 * interval.mean, 100 * interval.low, 100 * interval.high);
}

evaluation::ScatterPlot length_plot(const std::string& name, const nlohmann::json& model, const std::vector<ScoredPair>& pairs) {
  evaluation::ScatterPlot plot{.title = name + " reward model: score against length",
                               .x_label = "tokens of the answer",
                               .y_label = "raw score",
                               .groups = {{.name = "chosen", .x = {}, .y = {}, .low = {}, .high = {}},
                                          {.name = "rejected", .x = {}, .y = {}, .low = {}, .high = {}}},
                               .note = {}};
  for (const ScoredPair& pair : pairs) {
    plot.groups[0].x.push_back(static_cast<double>(pair.chosen_tokens));
    plot.groups[0].y.push_back(pair.chosen);
    plot.groups[1].x.push_back(static_cast<double>(pair.rejected_tokens));
    plot.groups[1].y.push_back(pair.rejected);
  }
  const auto& length = model.at("length");
  if (length.contains("spearman")) {
    const auto rank = evaluation::statistics::interval_from_json(length.at("spearman"));
    plot.note = fmt::format("Rank correlation over all answers {:.2f} [{:.2f}, {:.2f}].", rank.mean, rank.low, rank.high);
  }
  if (length.contains("longer_chosen"))
    plot.note += fmt::format(" The longer answer scores higher in {} of pairs; the annotator chose it in {}.",
                             percent_text(length.at("longer_scores_higher")), percent_text(length.at("longer_chosen")));
  return plot;
}

evaluation::HistogramPlot safety_plot(const std::string& name, const std::vector<ScoredPair>& pairs, double gate) {
  evaluation::HistogramPlot plot{.title = name + " reward model: labelled answers",
                                 .x_label = "probability",
                                 .groups = {{.name = "safe", .values = {}}, {.name = "unsafe", .values = {}}},
                                 .references = {{.value = gate, .label = "gate"}},
                                 .note = {}};
  const auto detection = evaluation::unsafe_detection(pairs);
  for (size_t i = 0; i < detection.unsafe.size(); ++i)
    plot.groups[detection.unsafe[i] ? 1 : 0].values.push_back(detection.probabilities[i]);
  return plot;
}

// How the gate's threshold is chosen (paper, 3.2.3: 0.15 has precision 0.89 and recall 0.55 there).
evaluation::LinePlot gate_plot(const std::string& name, const nlohmann::json& model, const std::vector<ScoredPair>& pairs, double gate) {
  const auto detection = evaluation::unsafe_detection(pairs);
  const auto curve = evaluation::statistics::precision_recall_curve(detection.probabilities, detection.unsafe);
  Series all{.name = "all thresholds", .x = {}, .y = {}, .low = {}, .high = {}};
  for (const auto& point : curve) {
    all.x.push_back(point.recall());
    all.y.push_back(point.precision());
  }
  const auto& unsafe = model.at("unsafe");
  Series banded{.name = "0.05, 0.1 to 0.95, with intervals of precision", .x = {}, .y = {}, .low = {}, .high = {}};
  for (const auto& point : unsafe.at("curve"))
    if (point.contains("precision") && point.contains("recall"))
      evaluation::add_point(banded, evaluation::statistics::interval_from_json(point.at("recall")).mean,
                            evaluation::statistics::interval_from_json(point.at("precision")));
  evaluation::LinePlot plot{.title = name + " reward model: finding unsafe answers",
                            .x_label = "recall: share of unsafe answers below the threshold",
                            .y_label = "precision: share of answers below that are unsafe",
                            .series = {all, banded},
                            .references = {{.value = 0.89, .label = "the paper's precision"}},
                            .note = {}};
  const auto mark = [&](double threshold, const std::string& label) {
    if (detection.at(threshold).flagged == 0) return fmt::format(" No answer lies below {} ({}).", threshold, label);
    const auto precision = detection.precision(threshold), recall = detection.recall(threshold);
    plot.series.push_back(
        {.name = fmt::format("{} ({})", threshold, label), .x = {recall.mean}, .y = {precision.mean}, .low = {}, .high = {}});
    return fmt::format(" Below {} ({}): precision {:.2f} [{:.2f}, {:.2f}], recall {:.2f} [{:.2f}, {:.2f}].", threshold, label,
                       precision.mean, precision.low, precision.high, recall.mean, recall.low, recall.high);
  };
  plot.note = "The paper's gate of 0.15 has precision 0.89 and recall 0.55 on its own data." + mark(gate, "gate") + mark(0.5, "half");
  if (const auto reached = unsafe.find("at_precision_0.89"); reached != unsafe.end())
    plot.note +=
        fmt::format(" Here precision 0.89 is kept up to a threshold of {:.3f}, with recall {:.2f}.", reached->at("threshold").get<double>(),
                    evaluation::statistics::interval_from_json(reached->at("recall")).mean);
  else
    plot.note += " Here no threshold reaches precision 0.89.";
  return plot;
}

// `kept`: for each model that was not good enough, the earlier stage whose model stays.
evaluation::Table cross_table(const nlohmann::json& cross, const std::map<std::string, std::string>& kept) {
  evaluation::Table table{
      .title = "Every reward model on every held-out set",
      .columns = {{"model"}, {"pairs of"}, {"n", evaluation::ColumnKind::number}, {"accuracy", evaluation::ColumnKind::number}},
      .rows = {},
      .note = {}};
  const std::vector<std::pair<int, std::string>> strengths = {{4, "significantly"}, {3, "better"}, {2, "slightly"}, {1, "negligibly"}};
  for (const auto& [strength, name] : strengths)
    table.columns.push_back({name, evaluation::ColumnKind::number});
  for (const auto& row : cross.at("evaluations")) {
    const auto& accuracy = row.at("accuracy");
    const std::string reward = row.at("reward");
    const auto stays = kept.find(reward);
    table.rows.push_back({stays == kept.end() ? reward : fmt::format("{} ({} kept)", reward, stays->second),
                          row.at("data").get<std::string>(), std::to_string(accuracy.at("pairs").get<int64_t>()),
                          evaluation::interval_cell(evaluation::statistics::interval_from_json(accuracy))});
    for (const auto& [strength, name] : strengths) {
      evaluation::Cell cell = "-";
      for (const auto& group : row.at("by_strength"))
        if (group.at("strength") == strength) cell = evaluation::interval_cell(evaluation::statistics::interval_from_json(group));
      table.rows.back().push_back(cell);
    }
  }
  for (const auto& row : cross.at("agreements")) {
    const auto share = evaluation::statistics::interval_from_json(row);
    table.note += fmt::format("{}{} and {} choose alike on {:.2f} [{:.2f}, {:.2f}] of the {} pairs", table.note.empty() ? "" : " ",
                              row.at("rewards")[0].get<std::string>(), row.at("rewards")[1].get<std::string>(), share.mean, share.low,
                              share.high, row.at("data").get<std::string>());
    if (row.contains("kappa")) {
      const auto kappa = evaluation::statistics::interval_from_json(row.at("kappa"));
      table.note += fmt::format(", kappa {:.2f} [{:.2f}, {:.2f}]", kappa.mean, kappa.low, kappa.high);
    }
    table.note += ".";
  }
  if (!table.note.empty())
    table.note += " kappa: agreement beyond what their accuracies alone bring about; 0 where errors are independent.";
  return table;
}

// How far those who compared agree, by batch: people with each other, a judge with itself in the other order of the answers. Empty in the
// sandbox, and where one person judged each comparison.
evaluation::Table agreement_table(const Folders& folders) {
  using evaluation::ColumnKind;
  evaluation::Table table{.title = "Agreement of those who compared",
                          .columns = {{"batch"}, {"measure"}, {"value", ColumnKind::number}, {"of", ColumnKind::number}},
                          .rows = {},
                          .note = {}};
  const auto add = [&](const std::string& batch, const std::string& measure, const nlohmann::json& share, const std::string& of) {
    if (!share.at("mean").is_number()) return;
    const bool bounded = share.at("low").is_number() && share.at("high").is_number();
    table.rows.push_back({batch, measure,
                          bounded ? evaluation::interval_cell(evaluation::statistics::interval_from_json(share))
                                  : evaluation::Cell(fmt::format("{:.2f}", share.at("mean").get<double>())),
                          fmt::format("{} {}", share.at(of).get<int64_t>(), of)});
  };
  for (const auto& [batch, folder] : folders.all) {
    if (!batch.starts_with("preferences") || !std::filesystem::exists(folder / "counts.json")) continue;
    const nlohmann::json counts = core::read_json_file(folder / "counts.json");
    if (const auto people = counts.find("people"); people != counts.end() && people->contains("agreement")) {
      const auto& agreement = people->at("agreement");
      add(batch, "people: Gwet's AC1, choice", agreement.at("ac1"), "comparisons");
      add(batch, "people: Gwet's AC2, choice and strength", agreement.at("ac2"), "comparisons");
    }
    if (const auto judge = counts.find("judge"); judge != counts.end() && judge->contains("orders_agree")) {
      add(batch, "judge: same verdict in both orders", judge->at("orders_agree"), "comparisons");
      add(batch, "judge: answer shown first is chosen", judge->at("first_shown_chosen"), "replies");
    }
  }
  return table;
}

}  // namespace

Section reward_model_section(const std::vector<nlohmann::json>& evaluations, const std::vector<std::pair<std::string, std::string>>& stages,
                             const Folders& folders, double gate_threshold) {
  Section section{.heading = "Reward models",
                  .text = "On held-out pairs against the annotator's labels. Intervals take prompts, not pairs, for independent.",
                  .blocks = {}};
  std::map<std::string, std::string> kept;
  for (size_t i = 0; i < stages.size(); ++i) {
    const auto& [name, stage] = stages[i];
    const nlohmann::json& model = evaluations[i];
    if (model.contains("kept")) kept[name] = model.at("kept");
    const auto pairs = evaluation::read_scores(folders.at(stage) / "scores.jsonl");
    section.blocks.insert(section.blocks.end(), {accuracy_plot(name, model), reliability_plot(name, model), score_plot(name, pairs),
                                                 difference_plot(name, pairs), length_plot(name, model, pairs)});
    if (!model.contains("unsafe")) continue;
    section.blocks.push_back(safety_plot(name, pairs, gate_threshold));
    if (model.at("unsafe").at("unsafe") > 0) section.blocks.push_back(gate_plot(name, model, pairs, gate_threshold));
  }
  section.blocks.push_back(cross_table(core::read_json_file(folders.at("evaluation") / "reward_models.json"), kept));
  if (auto table = agreement_table(folders); !table.rows.empty()) section.blocks.push_back(std::move(table));
  return section;
}

}  // namespace keel::pipelines::report
