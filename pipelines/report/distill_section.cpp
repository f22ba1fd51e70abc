// The report's section on safety context distillation.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "evaluation/plots.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/report/sections.h"
#include "reward/combination.h"

namespace keel::pipelines::report {
namespace {

evaluation::HistogramPlot score_plot(const std::string& model, const std::filesystem::path& file, double gate) {
  evaluation::HistogramPlot plot{.title = fmt::format("Answers of {} to hazards", model),
                                 .x_label = "safety probability",
                                 .y_label = "share of answers",
                                 .groups = {{"without a preprompt", {}}, {"with one, kept", {}}},
                                 .references = {{.value = gate, .label = "gate"}},
                                 .note = "Both answers to each prompt whose distilled answer is learned."};
  core::JsonlReader reader(file);
  for (nlohmann::json row; reader.next(row);) {
    plot.groups[0].values.push_back(reward::probability(row.at("original_score").get<double>()));
    plot.groups[1].values.push_back(reward::probability(row.at("score").get<double>()));
  }
  return plot;
}

}  // namespace

evaluation::Section distill_section(const recipe::Recipe& recipe, const Folders& folders) {
  evaluation::Section section{
      .heading = "Safety context distillation",
      .text = recipe.distill.data.keep == distillation::Keep::better
                  ? "The newest model answers hazards under a safety preprompt; fine-tuning learns these answers without it, "
                    "where the safety reward model scores them above the answers that the model gave by itself."
                  : "The newest model answers hazards under a safety preprompt; fine-tuning learns all of these answers "
                    "without it.",
      .blocks = {},
      .small = false};
  evaluation::Table counts{.title = "Distilled answers",
                           .columns = {{"version"}, {"kept", evaluation::ColumnKind::number}, {"left out"}},
                           .rows = {},
                           .note = "not_better: the safety model does not score the answer above the original one."};
  for (const auto& version : recipe::versions_of(recipe)) {
    if (version.distill.empty()) continue;
    const auto& folder = folders.at(version.distill);
    section.blocks.emplace_back(score_plot(version.newest, folder / "distilled.jsonl", recipe.combination.gate_threshold));
    const nlohmann::json counted = core::read_json_file(folder / "counts.json");
    std::string dropped;
    for (const auto& [reason, count] : counted.at("dropped").items())
      dropped += fmt::format("{}{} {}", dropped.empty() ? "" : ", ", reason, count.get<int64_t>());
    counts.rows.push_back({fmt::format("V{}", version.number), std::to_string(counted.at("kept").get<int64_t>()), dropped});
  }
  section.blocks.emplace_back(std::move(counts));
  return section;
}

}  // namespace keel::pipelines::report
