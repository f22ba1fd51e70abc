// How training went: losses, and PPO iteration by iteration.
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

Section loss_section(const recipe::Recipe& recipe, const Results& results, const Folders& folders) {
  Section section{.heading = "Training",
                  .text = "Losses in nats a target. Where there is a held-out loss, the weights of its lowest point are kept.",
                  .blocks = {}};
  const auto versions = recipe::versions_of(recipe);
  std::vector<std::string> trained = {"base", "sft"};
  for (const auto& version : versions)
    if (!version.rejection.empty()) trained.push_back(version.rejection);
  for (const auto& stage : trained) {
    if (!folders.has(stage) || !std::filesystem::exists(folders.at(stage) / "metrics.jsonl")) continue;  // a base that is not trained
    const auto points = core::read_metrics(folders.at(stage) / "metrics.jsonl");
    evaluation::LinePlot plot{.title = fmt::format("{}: loss", stage),
                              .x_label = "optimiser step",
                              .y_label = "loss (nats a target)",
                              .series = {evaluation::metric_series("training", points, "loss")},
                              .references = {},
                              .note = {}};
    if (auto held_out = evaluation::metric_series("held out", points, "eval_loss"); !held_out.x.empty()) plot.series.push_back(held_out);
    section.blocks.push_back(plot);
  }
  for (size_t i = 0; i < results.reward_stages.size(); ++i) {
    const auto& [kind, stage] = results.reward_stages[i];
    const auto points = core::read_metrics(folders.at(stage) / "metrics.jsonl");
    const bool used = !results.rewards[i].contains("kept");  // else the curve belongs to a model that was not kept
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

Section ppo_section(const Results& results, const Folders& folders, const std::string& stage) {
  Section section{.heading = stage == "ppo" ? "PPO" : "PPO: " + stage,
                  .text = to_text(results.ppo.at(stage)) + " One point an iteration.",
                  .blocks = {},
                  .small = true};
  const auto points = core::read_metrics(folders.at(stage) / "metrics.jsonl");
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

}  // namespace keel::pipelines::report
