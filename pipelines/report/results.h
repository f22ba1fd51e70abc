// Results of a run's stages, as the report reads them.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "evaluation/assemble.h"
#include "pipelines/recipe/recipe.h"

namespace keel::pipelines::report {

// The finished folder of every stage before the report, in order.
struct Folders {
  std::vector<std::pair<std::string, std::filesystem::path>> all;
  bool has(const std::string& stage) const;
  const std::filesystem::path& at(const std::string& stage) const;  // std::out_of_range where there is none
};

// The weights that PPO kept: those after `kept_iteration` of `iterations`; 0 = the first weights.
struct PpoOutcome {
  int64_t iterations = 0, kept_iteration = 0;
};
std::string to_text(const PpoOutcome& outcome);  // as a sentence

struct Results {
  bool gold = false;
  std::vector<evaluation::MeasuredModel> models;
  // Kind and stage of each reward model of the newest version, then of the gold ones, as far as they were measured; and evaluation.json of
  // each.
  std::vector<std::pair<std::string, std::string>> reward_stages;
  std::vector<nlohmann::json> rewards;
  nlohmann::json by_family;
  std::vector<nlohmann::json> answers;
  std::vector<std::pair<std::string, double>> seconds;
  std::map<std::string, PpoOutcome> ppo;  // by the name of its model
};

Results read_results(const recipe::Recipe& recipe, const Folders& folders);

nlohmann::json summary_json(const Results& results);

}  // namespace keel::pipelines::report
