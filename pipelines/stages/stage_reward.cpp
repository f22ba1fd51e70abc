// Reward models of a run: each version's are trained on every batch so far, and stay unless those before them are right more often.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/mixture.h"
#include "data/preferences.h"
#include "evaluation/reward_evaluation.h"
#include "evaluation/reward_json.h"
#include "evaluation/statistics/json.h"
#include "inference/model_folder.h"
#include "pipelines/stages/operations.h"
#include "pipelines/stages/stages.h"

namespace keel::pipelines::stages {
namespace {

std::vector<nlohmann::json> read_rows(const RewardStage& stage, const run::StageContext& context, const std::string& name) {
  std::vector<nlohmann::json> rows;
  for (const auto& batch : stage.batches) {
    const fs::path file = context.inputs.at(batch) / name;
    if (!fs::exists(file)) continue;  // public pairs come with the first batch alone, if at all
    core::JsonlReader reader(file);
    for (nlohmann::json row; reader.next(row);)
      rows.push_back(std::move(row));
  }
  return rows;
}

// Training pairs of a kind. What no model may learn from goes here, not in the reader of the mixture, which knows not whether a row was
// safety data; and the mixture's parts are shares of what is learned from (before mixture.drop_*).
std::vector<nlohmann::json> usable_rows(const RewardStage& stage, const run::StageContext& context, const std::string& kind,
                                        data::Counts& counts) {
  std::vector<nlohmann::json> rows = read_rows(stage, context, kind + "_train.jsonl");
  std::erase_if(rows, [&](const auto& row) { return !data::parse_preference(row, {.safety = kind == "safety"}, counts); });
  return rows;
}

// The pairs that the model learns from, in pairs.jsonl.gz: all of its own kind, then what is drawn of the others.
void write_mixture(const RewardStage& stage, int64_t own_pairs, const run::StageContext& context) {
  data::Counts counts;
  std::vector<nlohmann::json> pairs = usable_rows(stage, context, stage.kind, counts), rest;
  for (const char* kind : {"helpfulness", "safety", "public"}) {
    if (stage.kind == kind) continue;
    auto rows = usable_rows(stage, context, kind, counts);
    rest.insert(rest.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
  }
  if (own_pairs > 0 && own_pairs < std::ssize(pairs)) {
    // A smaller number draws a part of what a larger one does: points of one learning curve.
    std::vector<nlohmann::json> drawn;
    const auto order = core::permutation(std::ssize(pairs), context.seed, "mixture.own", 0);
    for (int64_t i = 0; i < own_pairs; ++i)
      drawn.push_back(std::move(pairs[static_cast<size_t>(order[static_cast<size_t>(i)])]));
    pairs = std::move(drawn);
  }
  const auto own = std::ssize(pairs);
  for (const int64_t row : data::draw_rest(own, std::ssize(rest), stage.rest_share, context.seed))
    pairs.push_back(rest[static_cast<size_t>(row)]);
  const int64_t drawn = std::ssize(pairs) - own, wanted = data::wanted_rest(own, stage.rest_share);
  core::log_info(fmt::format("{}: {} pairs of its own kind, {} of {} others{}", stage.name, own, drawn, rest.size(),
                             drawn < wanted ? fmt::format(" ({} were wanted)", wanted) : ""));
  core::write_file(
      context.work / "mixture.json",
      core::dump_json(
          {{"own", own}, {"rest", drawn}, {"rest_wanted", wanted}, {"rest_available", rest.size()}, {"dropped", counts.dropped}}) +
          "\n");
  core::write_jsonl(context.work / "pairs.jsonl.gz", pairs);
}

}  // namespace

void train_reward_stage(const recipe::Recipe& recipe, const RewardStage& stage, const run::StageContext& context) {
  const fs::path& work = context.work;
  const bool safety = stage.kind == "safety";
  write_mixture(stage, recipe.mixture.own_pairs, context);
  core::write_jsonl(work / "held_out.jsonl.gz", read_rows(stage, context, stage.kind + "_test.jsonl"));
  reward_operation({.model = context.inputs.at("sft"),
                    .pairs = work / "pairs.jsonl.gz",
                    .held_out = work / "held_out.jsonl.gz",
                    .safety = safety,
                    .name = stage.kind == "public" ? "general" : stage.kind,
                    .drop_duplicates = recipe.mixture.drop_duplicates,
                    .drop_shared_prompts = recipe.mixture.drop_shared_prompts,
                    .limit = length_limit(recipe)},
                   recipe.reward, context.seed, work);
  if (stage.previous.empty()) return;

  // Paper 3.2.3: answers are chosen by the best reward model there is. An older one wins if it is right more often on all test sets so far.
  const fs::path earlier = context.inputs.at(stage.previous);
  auto [old, old_pairs] = evaluate_reward_model(earlier, work / "held_out.jsonl.gz", safety, length_limit(recipe));
  nlohmann::json now = core::read_json_file(work / "evaluation.json");
  const auto accuracy = [](const nlohmann::json& evaluation) { return evaluation.at("accuracy").at("mean").get<double>(); };
  now["previous_accuracy"] = old.at("accuracy");
  now["previous_difference"] = to_json(evaluation::accuracy_difference(evaluation::read_scores(work / "scores.jsonl"), old_pairs));
  if (accuracy(old) > accuracy(now)) {
    core::log_info(
        fmt::format("{}: {:.3f} is less than the {:.3f} of {}, which stays", stage.name, accuracy(now), accuracy(old), stage.previous));
    old["name"] = now["name"];
    old["counts"] = now["counts"];
    old["kept"] = stage.previous;
    old["previous_accuracy"] = now["previous_accuracy"];
    old["previous_difference"] = now["previous_difference"];
    old["retrained_accuracy"] = now["accuracy"];
    now = std::move(old);
    evaluation::write_scores(work / "scores.jsonl", old_pairs);
    const inference::ScoringModel kept = inference::load_scoring_model(earlier);
    inference::save_scoring_model(work, kept.model, earlier, kept.format,
                                  {{"stage", "reward"}, {"kind", stage.kind}, {"kept", stage.previous}});
  }
  core::write_file(work / "evaluation.json", core::dump_json(now) + "\n");
}

}  // namespace keel::pipelines::stages
