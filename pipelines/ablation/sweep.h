// A sweep: a recipe, the settings to vary, and seeds (docs/runs.md). Every combination and seed is one pipeline run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/recipe/recipe.h"

namespace keel::pipelines::ablation {

// Setting -> value as --set takes it, sorted. "until" is not a setting of the recipe but the cell's own last stage.
using Settings = std::vector<std::pair<std::string, std::string>>;

// A number of every answer of a model in the evaluation stage's answers.jsonl.
struct Distribution {
  std::string name;                 // "sft.reward_safety.hazard": MODEL.MEMBER, with .hazard or .harmless of these prompts alone
  std::string model, member;        // "sft", "reward_safety"
  std::optional<bool> hazard = {};  // of the prompts; absent for all
};

struct Sweep {
  std::string name;
  std::filesystem::path base;  // the recipe
  std::vector<int64_t> seeds{1};
  std::vector<std::string> keys;                 // settings that vary
  std::vector<Settings> cells;                   // every combination that is not excluded, each once
  size_t baseline = 0;                           // the cell that the others are compared with
  std::string until = "report";                  // last stage of a cell
  std::vector<std::string> places;               // "key=value": the paths of model and data, for every cell
  std::vector<std::string> measures;             // "ppo.gold_helpfulness", "reward_safety.accuracy": see measure_of()
  std::vector<Distribution> distributions = {};  // the report draws a histogram of each
};

// Reads {"name", "base", "seeds", "grid": {key: [values]}, "paired": [{key: value}], "exclude": [{key: value}], "baseline": {key: value},
// "until", "measures", "distributions"}: all combinations of the grid, each with every setting of `paired`. `places` ("key=value" of --set)
// say where model and data lie; other settings belong in the file. Every cell's recipe is checked. ConfigError with every problem.
Sweep read_sweep(const std::filesystem::path& path, const std::vector<std::string>& places = {});

const std::string& until_of(const Sweep& sweep, const Settings& cell);
bool ends_early(const Settings& cell);  // it has an "until" of its own, and may lack measures of later stages

std::string label_of(const Settings& settings);  // "ppo.kl.coefficient=0.1, reward.loss.margin=large"

// The recipe of a cell.
recipe::Recipe recipe_of(const Sweep& sweep, const Settings& cell);

}  // namespace keel::pipelines::ablation
