// The inputs of the graph of stages, and the stages so far.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "inference/dialogues.h"
#include "inference/prompts.h"
#include "pipelines/recipe/recipe.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/steps/step.h"

namespace keel::pipelines::steps {

struct Plan {
  const recipe::Recipe& recipe;
  std::vector<recipe::Version> versions;
  const std::map<std::string, std::string>& digests;  // of files outside the run, see as_stage()
  std::vector<run::Stage> stages;

  void add(const Step& step) { stages.push_back(as_stage(step, digests)); }
};

// The model that fine-tuning starts from: the pretrained one in the sandbox, the recipe's checkpoint on real data, or the stage "base" that
// gives it another chat format.
Source start_model(const recipe::Recipe& recipe);

// Where the model of a stage lies: "" is the start model, and so is "sft" of a run without SFT.
Source model_source(const recipe::Recipe& recipe, const std::string& stage);

// What Ghost Attention and context distillation need and no model makes: the sandbox's, or the recipe's files. No preprompts: the built-in
// ones.
Source gatt_dialogues(const recipe::Recipe& recipe);
Source gatt_test_dialogues(const recipe::Recipe& recipe);
Source gatt_instructions(const recipe::Recipe& recipe);
std::optional<Source> preprompts(const recipe::Recipe& recipe);

// Names in run.json of the reward models that a run on real data begins with.
inline constexpr const char* kFirstHelpfulness = "reward.first.helpfulness";
inline constexpr const char* kFirstSafety = "reward.first.safety";

// How every stage of the run treats dialogues that do not fit, and tags inside messages.
inference::RenderPolicy length_limit(const recipe::Recipe& recipe);

// The same for dialogues that grow turn by turn.
inference::DialogueLimit dialogue_limit(const recipe::Recipe& recipe);

// The file that people fill in for a version's comparisons, and its name in run.json.
inline constexpr const char* kPeople = "people.";
std::string people_role(const recipe::Version& version);
fs::path people_file(const recipe::Recipe& recipe, const recipe::Version& version);

}  // namespace keel::pipelines::steps
