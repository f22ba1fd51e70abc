#include "pipelines/steps/plan.h"

namespace keel::pipelines::steps {
namespace {

// A file that a stage of the sandbox makes, or the recipe's own, whose name in run.json is `role`.
Source made_or_given(const recipe::Recipe& recipe, const std::string& stage, const std::string& file, const std::string& role,
                     const std::string& path) {
  return recipe::from_sandbox(recipe) ? output_of(stage, file) : from_outside(role, path);
}

}  // namespace

Source start_model(const recipe::Recipe& recipe) {
  return recipe::from_sandbox(recipe) || !recipe.chat_format.empty() ? output_of("base") : from_outside("model", recipe.model);
}

Source model_source(const recipe::Recipe& recipe, const std::string& stage) {
  const bool start = stage.empty() || (stage == "sft" && !recipe.sft.enabled);
  return start ? start_model(recipe) : output_of(stage);
}

Source gatt_dialogues(const recipe::Recipe& recipe) {
  return made_or_given(recipe, "dialogues", "dialogues_train.jsonl", "gatt.dialogues", recipe.gatt.dialogues);
}

Source gatt_test_dialogues(const recipe::Recipe& recipe) {
  return made_or_given(recipe, "dialogues", "dialogues_test.jsonl", "gatt.test_dialogues", recipe.gatt.test_dialogues);
}

Source gatt_instructions(const recipe::Recipe& recipe) {
  return made_or_given(recipe, "dialogues", "instructions.jsonl", "gatt.instructions", recipe.gatt.instructions);
}

std::optional<Source> preprompts(const recipe::Recipe& recipe) {
  if (!recipe::from_sandbox(recipe) && recipe.distill.preprompts.empty()) return std::nullopt;
  return made_or_given(recipe, "preprompts", "preprompts.jsonl", "distill.preprompts", recipe.distill.preprompts);
}

inference::RenderPolicy length_limit(const recipe::Recipe& recipe) {
  if (recipe::from_sandbox(recipe)) return {.allow_tags = true};  // its own models write the answers
  return {.max_tokens = recipe.data.max_tokens, .drop_oldest_turns = recipe.data.drop_oldest_turns, .allow_tags = recipe.data.allow_tags};
}

inference::DialogueLimit dialogue_limit(const recipe::Recipe& recipe) {
  const inference::RenderPolicy limit = length_limit(recipe);
  return {.max_tokens = limit.max_tokens, .allow_tags = limit.allow_tags};
}

std::string people_role(const recipe::Version& version) {
  return kPeople + version.preferences;
}

fs::path people_file(const recipe::Recipe& recipe, const recipe::Version& version) {
  return fs::path(recipe.preferences.people) / (version.preferences + ".jsonl");
}

}  // namespace keel::pipelines::steps
