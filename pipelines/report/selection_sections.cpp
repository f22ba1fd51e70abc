// Best of n: by version, and by temperature.
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

// Paper, figure 7: the best of the first n answers grows with n, the median does not.
Section selection_section(const recipe::Recipe& recipe, const Folders& folders) {
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
        .y_label = fmt::format("{} probability, mean over prompts", core::name_of(recipe.rejection.score)),
        .series = {{.name = "best", .x = {}, .y = {}, .low = {}, .high = {}}, {.name = "median", .x = {}, .y = {}, .low = {}, .high = {}}},
        .references = {},
        .note = {}};
    const nlohmann::json selection = core::read_json_file(folders.at(version.rejection) / "selection.json");
    for (const auto& row : selection.at("scores_by_count"))
      for (const auto& [series, key] : {std::pair{&plot.series[0], "maximum"}, {&plot.series[1], "median"}})
        evaluation::add_point(*series, row.at("answers").get<double>(), evaluation::statistics::interval_from_json(row.at(key)));
    section.blocks.push_back(plot);
  }
  return section;
}

// Paper, figure 8: the best temperature moves as a model is aligned.
Section best_of_section(const Folders& folders) {
  Section section{.heading = "Best of n by temperature",
                  .text =
                      "Reward of the best and of the median of the first n answers to held-out prompts, at several sampling temperatures. "
                      "Bands are 95 % bootstrap intervals over prompts.",
                  .blocks = {},
                  .small = true};
  const nlohmann::json study = core::read_json_file(folders.at("best_of") / "best_of.json");
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

}  // namespace keel::pipelines::report
