// Prompts of a later version on real data.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/jsonl.h"
#include "pipelines/collection/file_data.h"
#include "pipelines/steps/plan.h"

namespace keel::pipelines::collection {
namespace {

struct FilePromptSettings {
  int64_t part = 1;
  int64_t train_prompts = 0;
  double held_out = 0;
};

void visit(FilePromptSettings& settings, core::Fields& fields) {
  fields("part", settings.part, "which part of the data's prompts, from 0");
  fields("train_prompts", settings.train_prompts, "prompts for the policy, half of each kind");
  fields("held_out", settings.held_out, "share of test conversations");
}

// Prompts of one kind in a file.
std::vector<nlohmann::json> prompts_of(const std::filesystem::path& file, bool hazard) {
  std::vector<nlohmann::json> rows;
  core::JsonlReader reader(file);
  for (nlohmann::json row; reader.next(row);)
    if (row.at("hazard").get<bool>() == hazard) rows.push_back(std::move(row));
  return rows;
}

// Training conversations for the policy: of the version's own batch, or else others of V1's. For comparisons, these and test conversations
// in the proportion of the split, so that the batch has its own test set.
void write_prompts(const FilePromptSettings& settings, const steps::Context& context) {
  core::JsonlWriter train(context.work / "prompts_train.jsonl"), compared(context.work / "prompts_comparisons.jsonl");
  for (const bool hazard : {false, true})
    for (const bool test : {false, true}) {
      const auto prompts = prompts_of(context.at("data") / (test ? kPromptsForTesting : kPromptsForTraining), hazard);
      const auto most = settings.train_prompts / 2;
      const double share = settings.held_out / (1 - settings.held_out);
      // The data stage has shuffled them. Versions take consecutive parts, the first one the first, and begin again at the end.
      const int64_t all = std::ssize(prompts);
      const auto tested = static_cast<int64_t>(std::llround(static_cast<double>(most) * share));
      const int64_t count = std::min<int64_t>(test ? tested : most, all);
      for (int64_t i = 0; i < count; ++i) {
        const nlohmann::json& row = prompts[static_cast<size_t>((settings.part * count + i) % all)];
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
  // A version with prompts of its own takes the first part of them, another one the next part of the newest ones before it.
  std::string source;
  int64_t from = 1;
  for (const recipe::Version& earlier : plan.versions)
    if (earlier.number <= version.number && recipe::gives_prompts(plan.recipe, earlier.number)) {
      source = earlier.data;
      from = earlier.number;
    }
  plan.add(steps::make_step(
      version.prompts, FilePromptSettings{.part = version.number - from, .train_prompts = data.train_prompts, .held_out = data.held_out},
      {{"data", steps::output_of(source)}}, write_prompts));
}

}  // namespace keel::pipelines::collection
