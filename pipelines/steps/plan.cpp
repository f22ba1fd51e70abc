#include "pipelines/steps/plan.h"

namespace keel::pipelines::steps {

Source start_model(const recipe::Recipe& recipe) {
  return recipe::from_sandbox(recipe) || !recipe.chat_format.empty() ? output_of("base") : from_outside("model", recipe.model);
}

Source model_source(const recipe::Recipe& recipe, const std::string& stage) {
  const bool start = stage.empty() || (stage == "sft" && !recipe.sft.enabled);
  return start ? start_model(recipe) : output_of(stage);
}

inference::RenderPolicy length_limit(const recipe::Recipe& recipe) {
  if (recipe::from_sandbox(recipe)) return {.allow_tags = true};  // its own models write the answers
  return {.max_tokens = recipe.data.max_tokens, .drop_oldest_turns = recipe.data.drop_oldest_turns};
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
