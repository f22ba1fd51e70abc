#include "pipelines/recipe.h"

#include <fmt/format.h>

#include "pipelines/commands.h"

namespace keel::pipelines {
namespace {

// Fields that a run on this kind of data does not read must stay as they are: a setting without effect is a mistake.
std::vector<std::string> unread_sections(const Recipe& recipe) {
  if (recipe.data.source == "sandbox") return {"data."};
  return {"sandbox.", "llama.", "pretrain.", "preferences.", "chat_format"};
}

// Rules between fields, which no single field's range can state.
void check(const Recipe& recipe, const std::string& origin, std::vector<std::string>& problems) {
  const auto problem = [&](const std::string& text) { problems.push_back(fmt::format("{}: {}", origin, text)); };
  if (recipe.name.empty()) problem("\"name\" is missing: a run folder belongs to the recipe of that name");
  if (recipe.data.source == "files") {
    if (recipe.model.empty())
      problem("data.source \"files\" needs \"model\", the folder of the checkpoint to align (make model fetches one)");
    for (const auto& [name, value] : {std::pair{"data.helpful", recipe.data.helpful}, {"data.harmless", recipe.data.harmless}})
      if (value.empty()) problem(fmt::format("{} is missing: name a preference file, e.g. --set {}=pairs.jsonl.gz", name, name));
  } else {
    if (!recipe.model.empty()) problem("\"model\" is for data.source \"files\"; the sandbox pretrains its own");
    for (const auto& text : policy::problems_of(recipe.llama))
      problem("llama: " + text);
    for (const auto& [name, tokens] : {std::pair{"rejection.sampling", recipe.rejection.sampling.max_new_tokens},
                                       {"ppo.sampling", recipe.ppo.sampling.max_new_tokens},
                                       {"evaluation", recipe.evaluation.max_new_tokens}})
      if (tokens >= recipe.llama.max_position_embeddings)
        problem(fmt::format("{}.max_new_tokens must be below llama.max_position_embeddings ({}), which holds prompt and answer, got {}",
                            name, recipe.llama.max_position_embeddings, tokens));
  }
  for (const auto& field : departures(recipe))
    for (const auto& section : unread_sections(recipe))
      if (field.name.starts_with(section))
        problem(fmt::format("{}: a run with data.source \"{}\" does not read it; leave it out", field.name, recipe.data.source));
  if (recipe.preferences.temperatures.empty()) problem("preferences.temperatures must name at least one temperature");
  if (recipe.rejection.sft.batch.validate_every != 0)
    problem("rejection.sft.batch.validate_every: fine-tuning on the model's own answers has no held-out set; leave it out");
  for (const auto& text : ppo::problems_of(recipe.ppo))
    problem("ppo: " + text);
}

}  // namespace

Recipe read_recipe(const std::filesystem::path& path, const std::string& overlay, const std::vector<std::string>& settings) {
  Recipe recipe;
  std::vector<std::string> problems;
  const core::Fields fields = core::fields_of(recipe);
  assign_file(fields, path, problems);
  if (!overlay.empty()) assign_file(fields, overlay, problems);
  for (const auto& setting : settings)
    core::assign_setting(fields, setting, problems);
  if (problems.empty()) check(recipe, path, problems);
  core::throw_if_any(std::move(problems));
  return recipe;
}

std::vector<core::Difference> departures(Recipe recipe) {
  Recipe paper;
  return core::differences(core::fields_of(recipe), core::fields_of(paper));
}

}  // namespace keel::pipelines
