// Prompts of a later version on real data.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/jsonl.h"
#include "data/preferences.h"
#include "pipelines/collection/file_pairs.h"
#include "pipelines/steps/plan.h"

namespace keel::pipelines::collection {
namespace {

struct FilePromptSettings {
  int64_t version = 2;
  int64_t train_prompts = 0;
  double held_out = 0;
};

void visit(FilePromptSettings& settings, core::Fields& fields) {
  fields("version", settings.version, "N of VN");
  fields("train_prompts", settings.train_prompts, "prompts for the policy, half of each kind");
  fields("held_out", settings.held_out, "share of test conversations");
}

// Prompts of one kind on one side of the split, in the data stage's order.
std::vector<nlohmann::json> split_prompts(const std::filesystem::path& data, const std::string& kind, bool hazard, bool test) {
  std::vector<nlohmann::json> rows;
  if (const auto uncapped = data / (kind + kUncapped); !test && std::filesystem::exists(uncapped)) {
    core::JsonlReader reader(uncapped);
    for (nlohmann::json row; reader.next(row);)
      rows.push_back(std::move(row));
    return rows;
  }
  for (const auto& pair : data::read_preferences(data / (kind + (test ? "_test.jsonl" : "_train.jsonl")), {.safety = hazard}).pairs)
    rows.push_back(row_of_prompt(pair, hazard));
  return rows;
}

// Other training conversations for the policy. For comparisons, these and test conversations in the proportion of the split, so that the
// batch has its own test set.
void write_prompts(const FilePromptSettings& settings, const steps::Context& context) {
  core::JsonlWriter train(context.work / "prompts_train.jsonl"), compared(context.work / "prompts_comparisons.jsonl");
  for (const auto& [kind, hazard] : {std::pair{"helpfulness", false}, {"safety", true}})
    for (const bool test : {false, true}) {
      const auto prompts = split_prompts(context.at("data"), kind, hazard, test);
      const auto most = settings.train_prompts / 2;
      const double share = settings.held_out / (1 - settings.held_out);
      // The data stage has shuffled them. Versions take consecutive parts, V1 the first, and begin again at the end.
      const int64_t all = std::ssize(prompts);
      const auto tested = static_cast<int64_t>(std::llround(static_cast<double>(most) * share));
      const int64_t count = std::min<int64_t>(test ? tested : most, all);
      for (int64_t i = 0; i < count; ++i) {
        const nlohmann::json& row = prompts[static_cast<size_t>(((settings.version - 1) * count + i) % all)];
        if (!test) train.write(row);
        compared.write(row);
      }
    }
  train.commit();
  compared.commit();
}

}  // namespace

void add_file_prompts(steps::Plan& plan, const recipe::Version& version) {
  const recipe::DataConfig& data = plan.recipe.data;
  if (recipe::from_sandbox(plan.recipe) || version.number == 1) return;  // V1's come with the data
  plan.add(steps::make_step(version.prompts,
                            FilePromptSettings{.version = version.number, .train_prompts = data.train_prompts, .held_out = data.held_out},
                            {{"data", steps::output_of("data")}}, write_prompts));
}

}  // namespace keel::pipelines::collection
