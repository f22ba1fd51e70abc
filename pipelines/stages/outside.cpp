#include "pipelines/stages/outside.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "annotation/obedience_judge.h"
#include "core/error.h"
#include "data/chat_format.h"
#include "data/messages.h"
#include "gatt/retention.h"
#include "inference/dialogues.h"
#include "inference/model_folder.h"
#include "pipelines/measurement/obedience.h"
#include "pipelines/steps/plan.h"
#include "policy/checkpoint.h"
#include "policy/lora.h"

namespace keel::pipelines::stages {
namespace {

using Digests = std::map<std::string, std::string>;
constexpr const char* kGuidelines = "preferences.judge.guidelines";

std::vector<std::pair<std::string, steps::fs::path>> external_files(const recipe::Recipe& recipe, const Digests& recorded) {
  if (recipe::from_sandbox(recipe)) return {};
  std::vector<std::pair<std::string, steps::fs::path>> files = {{"model", recipe.model}};
  for (const auto& of_source : recipe::files_of(recipe.data, recorded))
    for (const recipe::SourceFile& file : of_source)
      files.emplace_back(file.name, file.path);
  if (!recipe.reward.first.helpfulness.empty()) files.emplace_back(steps::kFirstHelpfulness, recipe.reward.first.helpfulness);
  if (!recipe.reward.first.safety.empty()) files.emplace_back(steps::kFirstSafety, recipe.reward.first.safety);
  if (recipe::has_gatt(recipe))
    files.insert(files.end(), {{"gatt.dialogues", recipe.gatt.dialogues},
                               {"gatt.test_dialogues", recipe.gatt.test_dialogues},
                               {"gatt.instructions", recipe.gatt.instructions}});
  if (recipe::has_distillation(recipe) && !recipe.distill.preprompts.empty())
    files.emplace_back("distill.preprompts", recipe.distill.preprompts);
  const auto& preferences = recipe.preferences;
  if (preferences.annotator == recipe::Annotator::judge && !preferences.judge.guidelines.empty())
    files.emplace_back(kGuidelines, preferences.judge.guidelines);
  return files;
}

[[noreturn]] void refuse_missing(const std::string& role, const steps::fs::path& path) {
  const char* remedy =
      role == "model" ? "; keel downloads nothing by itself: `make model` fetches a small one, `hf download NAME --local-dir DIR` any" : "";
  throw core::UsageError(fmt::format("{}: {} does not exist{}", role, path.string(), remedy));
}

// Dialogues and instructions of Ghost Attention that a stage would refuse hours later.
void check_dialogues(const recipe::Recipe& recipe, const data::ChatFormat& format) {
  const auto instructions = gatt::read_instructions(recipe.gatt.instructions);
  inference::read_dialogues(recipe.gatt.dialogues, format, steps::dialogue_limit(recipe));
  const auto tests = inference::read_dialogues(recipe.gatt.test_dialogues, format, steps::dialogue_limit(recipe));
  data::with_place(recipe.gatt.test_dialogues, 0,
                   [&] { gatt::plan_trials(tests, instructions, recipe.gatt.retention, static_cast<uint64_t>(recipe.seed)); });
}

}  // namespace

void check_external_files(const recipe::Recipe& recipe) {
  if (recipe::from_sandbox(recipe)) return;
  recipe::check_source_files(recipe.data);
  for (const auto& [role, path] : external_files(recipe, {}))
    if (!steps::fs::exists(path)) refuse_missing(role, path);
  const std::array<std::string, 3> models = {recipe.model, recipe.reward.first.helpfulness, recipe.reward.first.safety};
  if (!recipe.base.empty() && std::ranges::none_of(models, policy::is_adapter))
    throw core::UsageError(
        "base: none of the recipe's model folders is a PEFT adapter (adapter_config.json), so nothing reads it; leave it out");
  const data::ChatFormat format = inference::chat_format_of(recipe.model, recipe.chat_format);
  if (format == data::ChatFormat::none)
    throw core::UsageError(
        fmt::format("model: {} has no chat format that keel recognises, and dialogues cannot be rendered without one: name it in the "
                    "recipe, \"chat_format\": {} or a .json file that declares one",
                    recipe.model, fmt::join(data::dialogue_formats(), ", ")));
  data::check_renderable(format, *inference::load_tokenizer(recipe.model));
  if (recipe::has_gatt(recipe)) check_dialogues(recipe, format);
  for (const auto& [setting, first] :
       {std::pair{steps::kFirstHelpfulness, recipe.reward.first.helpfulness}, {steps::kFirstSafety, recipe.reward.first.safety}}) {
    if (first.empty()) continue;
    if (!policy::is_adapter(first) && !policy::describe_folder(first).scalar_head)
      throw core::UsageError(fmt::format("{}: {} is a language model, without the scalar head of a reward model", setting, first));
    (recipe.chat_format.empty() ? inference::require_same_text : inference::require_same_tokenizer)(first, recipe.model);
  }
}

std::map<std::string, std::string> external_digests(const recipe::Recipe& recipe, core::DigestCache& known, const Digests& recorded) {
  Digests digests;
  for (const auto& [role, path] : external_files(recipe, recorded)) {
    if (steps::fs::exists(path))
      digests[role] = steps::digest_of(path, known);
    else if (recorded.contains(role))
      digests[role] = recorded.at(role);
    else
      refuse_missing(role, path);
  }
  if (const auto& guidelines = recipe.preferences.judge.guidelines; digests.contains(kGuidelines) && steps::fs::exists(guidelines))
    annotation::read_guidelines(guidelines);  // refused now, not after the comparisons
  if (recipe.preferences.annotator == recipe::Annotator::people)
    for (const auto& version : recipe::versions_of(recipe)) {
      if (version.comparisons.empty()) continue;
      const std::string role = steps::people_role(version);
      if (const auto file = steps::people_file(recipe, version); steps::fs::exists(file))
        digests[role] = known.sha256(file);
      else if (recorded.contains(role))
        digests[role] = recorded.at(role);
    }
  return digests;
}

void try_judges(const recipe::Recipe& recipe, const run::RunDirectory& run, const std::vector<run::Stage>& stages,
                const run::RunOptions& options) {
  const bool compares = recipe.preferences.annotator == recipe::Annotator::judge, tells = !recipe.gatt.judge.model.empty();
  if (!compares && !tells) return;  // planning may read every output
  const auto planned = run::plan(run, stages, options);
  const auto will_run = [&](const std::string& stage) {
    return std::ranges::any_of(planned, [&](const auto& status) { return status.name == stage && status.state != run::StageState::done; });
  };
  const auto& judge = recipe.preferences.judge;
  if (compares && std::ranges::any_of(recipe::versions_of(recipe), [&](const auto& version) { return will_run(version.preferences); }))
    annotation::try_judge(judge, judge.guidelines.empty() ? "" : annotation::read_guidelines(judge.guidelines));
  if (!tells || !will_run("gatt_evaluation")) return;
  if (!std::ranges::all_of(gatt::read_instructions(recipe.gatt.instructions), measurement::checked_by_program))
    annotation::try_obedience_judge(recipe.gatt.judge);
}

Digests people_digests(Digests recorded) {
  std::erase_if(recorded, [](const auto& entry) { return !entry.first.starts_with(steps::kPeople); });
  return recorded;
}

}  // namespace keel::pipelines::stages
