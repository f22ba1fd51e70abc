#include "pipelines/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "pipelines/commands.h"
#include "pipelines/http_client.h"
#include "sandbox/world.h"

namespace keel::pipelines {
namespace {

// Fields that a run on this kind of data does not read must stay as they are: a setting without effect is a mistake.
std::vector<std::string> unread_sections(const Recipe& recipe) {
  if (recipe.data.source == "sandbox") return {"data."};
  std::vector<std::string> unread = {"sandbox.", "llama.", "pretrain.", "chat_format"};
  if (recipe.versions.size() == 1) unread.emplace_back("preferences.");
  return unread;
}

std::vector<std::string> annotator_problems(const Recipe& recipe) {
  const PreferenceConfig& config = recipe.preferences;
  std::vector<std::string> problems;
  const bool sandbox = recipe.data.source == "sandbox",
             of_sandbox = !std::set<std::string>{"judge", "people", "none"}.contains(config.annotator);
  if (sandbox && !of_sandbox)
    problems.push_back(
        fmt::format("preferences.annotator: \"{}\" is for data.source \"files\"; the sandbox has annotators of its own, mild, "
                    "middle and strict",
                    config.annotator));
  if (!sandbox && of_sandbox && recipe.versions.size() > 1)
    problems.push_back(
        fmt::format("preferences.annotator: \"{}\" knows the sandbox alone; later versions on real data need judge, people or "
                    "none",
                    config.annotator));
  if (config.annotator == "people" && config.people.empty())
    problems.emplace_back("preferences.people is missing: name the folder of the filled-in files");
  if (config.annotator == "judge") {
    if (config.judge.model.empty()) problems.emplace_back("preferences.judge.model is missing: name the model that the server should ask");
    try {
      parse_http_url(config.judge.url);
    } catch (const core::UsageError& error) {
      problems.push_back(fmt::format("preferences.judge.url: {}", error.what()));
    }
  }
  return problems;
}

// Rules between fields, which no single field's range can state.
void check(const Recipe& recipe, const std::string& origin, std::vector<std::string>& problems) {
  const auto problem = [&](const std::string& text) { problems.push_back(fmt::format("{}: {}", origin, text)); };
  if (recipe.name.empty()) problem("\"name\" is missing: a run folder belongs to the recipe of that name");
  if (recipe.data.source == "files") {
    if (recipe.model.empty())
      problem("data.source \"files\" needs \"model\", the folder of the checkpoint to align (make model fetches one)");
    std::vector<std::pair<std::string, int64_t>> longest = {{"rejection.sampling", recipe.rejection.sampling.max_new_tokens},
                                                            {"ppo.sampling", recipe.ppo.sampling.max_new_tokens},
                                                            {"evaluation", recipe.evaluation.max_new_tokens}};
    if (recipe.versions.size() > 1 && recipe.preferences.annotator != "none")
      longest.emplace_back("preferences", recipe.preferences.max_new_tokens);
    for (const auto& [name, tokens] : longest)
      if (tokens >= recipe.data.max_tokens)
        problem(fmt::format("{}.max_new_tokens must be below data.max_tokens ({}), which holds prompt and answer, got {}", name,
                            recipe.data.max_tokens, tokens));
    for (const auto& [name, value] : {std::pair{"data.helpful", recipe.data.helpful}, {"data.harmless", recipe.data.harmless}})
      if (value.empty()) problem(fmt::format("{} is missing: name a preference file, e.g. --set {}=pairs.jsonl.gz", name, name));
  } else {
    if (!recipe.model.empty()) problem("\"model\" is for data.source \"files\"; the sandbox pretrains its own");
    for (const auto& text : policy::problems_of(recipe.llama))
      problem("llama: " + text);
    for (const auto& [name, tokens] : {std::pair{"rejection.sampling", recipe.rejection.sampling.max_new_tokens},
                                       {"ppo.sampling", recipe.ppo.sampling.max_new_tokens},
                                       {"preferences", recipe.preferences.max_new_tokens},
                                       {"evaluation", recipe.evaluation.max_new_tokens}})
      if (tokens >= recipe.llama.max_position_embeddings)
        problem(fmt::format("{}.max_new_tokens must be below llama.max_position_embeddings ({}), which holds prompt and answer, got {}",
                            name, recipe.llama.max_position_embeddings, tokens));
  }
  const auto& skills = sandbox::skills();
  if (const auto& absent = recipe.sandbox.absent_skill; !absent.empty() && std::find(skills.begin(), skills.end(), absent) == skills.end())
    problem(fmt::format("sandbox.absent_skill: there is no skill \"{}\"; the skills are {}", absent, fmt::join(skills, ", ")));
  for (const auto& field : departures(recipe))
    for (const auto& section : unread_sections(recipe))
      if (field.name.starts_with(section))
        problem(fmt::format("{}: a run with data.source \"{}\" does not read it; leave it out", field.name, recipe.data.source));
  if (recipe.best_of.temperatures.empty()) problem("best_of.temperatures must name at least one temperature");
  for (const auto& text : annotator_problems(recipe))
    problem(text);
  if (recipe.preferences.temperatures.empty()) problem("preferences.temperatures must name at least one temperature");
  if (recipe.versions.empty()) problem("versions must name at least one: \"rejection\" or \"ppo\"");
  for (const auto& text : problems_of(recipe.rejection))
    problem("rejection." + text);
  for (const auto& text : reward::problems_of(recipe.reward))
    problem("reward: " + text);
  for (const auto& text : ppo::problems_of(recipe.ppo))
    problem("ppo: " + text);
}

}  // namespace

std::vector<std::string> problems_of(const RejectionConfig& config) {
  std::vector<std::string> problems;
  if (config.sft.batch.validate_every != 0)
    problems.emplace_back("sft.batch.validate_every: fine-tuning on the model's own answers has no held-out set; leave it out");
  if (!config.temperatures.empty() && config.samples % std::ssize(config.temperatures) != 0)
    problems.push_back(fmt::format("samples must be a multiple of the {} temperatures, each of which writes an equal part; got {}",
                                   config.temperatures.size(), config.samples));
  const std::set<double> distinct(config.temperatures.begin(), config.temperatures.end());
  if (distinct.size() < config.temperatures.size()) problems.emplace_back("temperatures must differ: equal ones would draw equal answers");
  return problems;
}

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
