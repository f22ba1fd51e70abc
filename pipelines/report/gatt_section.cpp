#include "pipelines/report/gatt_section.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "evaluation/assemble.h"
#include "evaluation/statistics/json.h"

namespace keel::pipelines::report {
namespace {

// One figure for each group of instructions, one curve for each model.
std::vector<evaluation::LinePlot> retention_plots(const std::filesystem::path& file) {
  static const std::map<std::string, std::string> titles = {{"trained", "Instructions of the kind that is trained"},
                                                            {"unseen", "Instructions that no fine-tuning saw"},
                                                            {"combined", "Several instructions at once"},
                                                            {"changed", "An instruction that changes"}};
  std::map<std::string, evaluation::LinePlot> plots;
  core::JsonlReader reader(file);
  for (nlohmann::json row; reader.next(row);) {
    const std::string group = row.at("group"), model = row.at("model");
    evaluation::LinePlot& plot = plots[group];
    plot.title = titles.at(group);
    plot.x_label = "turn";
    plot.y_label = "share of answers that obey";
    plot.note = fmt::format("{} dialogues at the last turn.", row.at("trials").get<int64_t>());
    if (plot.series.empty() || plot.series.back().name != model) plot.series.push_back({model, {}, {}, {}, {}});
    evaluation::add_point(plot.series.back(), row.at("turn").get<double>(), evaluation::statistics::interval_from_json(row.at("kept")));
  }
  std::vector<evaluation::LinePlot> list;
  for (const char* group : {"trained", "unseen", "combined", "changed"})
    if (const auto found = plots.find(group); found != plots.end()) list.push_back(found->second);
  return list;
}

evaluation::HeatPlot attention_plot(const nlohmann::json& row) {
  evaluation::HeatPlot plot{
      .title = fmt::format("{}: attention on the instruction", row.at("model").get<std::string>()),
      .x_label = fmt::format("token of the answer at turn {}", row.at("turn").get<int64_t>()),
      .y_label = "layer",
      .value_label = "Share of attention",
      .columns = {},
      .rows = {},
      .note = fmt::format("Instruction: {} Answer: {}", row.at("instruction").get<std::string>(), row.at("answer").get<std::string>())};
  for (const auto& values : row.at("layers")) {
    plot.rows.push_back({fmt::format("layer {}", plot.rows.size() + 1), values.get<std::vector<double>>()});
    while (plot.columns.size() < plot.rows.back().values.size())
      plot.columns.push_back(std::to_string(plot.columns.size() + 1));
  }
  return plot;
}

}  // namespace

evaluation::Section gatt_section(const std::filesystem::path& folder) {
  evaluation::Section section{
      .heading = "Ghost Attention",
      .text =
          "The instruction stands in the first turn alone; each model answers the same questions with the same random "
          "numbers and reads its own earlier answers. Bands are 95 % Wilson intervals over dialogues.",
      .blocks = {},
      .small = true};
  for (auto& plot : retention_plots(folder / "retention.jsonl"))
    section.blocks.emplace_back(std::move(plot));
  for (const auto& row : core::read_json_file(folder / "attention.json"))
    if (!row.at("layers").empty()) section.blocks.emplace_back(attention_plot(row));
  return section;
}

}  // namespace keel::pipelines::report
