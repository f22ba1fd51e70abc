// Dialogues and instructions for Ghost Attention in the sandbox.
#include "sandbox/dialogues.h"

#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "data/messages.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/steps/plan.h"
#include "sandbox/instructions.h"

namespace keel::pipelines::collection {
namespace {

nlohmann::json dialogue_row(const core::Dialogue& dialogue) {
  return {{"messages", data::messages_json(dialogue)}};
}

nlohmann::json instruction_row(const sandbox::Instruction& instruction) {
  return {{"text", instruction.text},
          {"short", instruction.brief},
          {"kind", instruction.kind},
          {"value", instruction.value},
          {"unseen", instruction.held_out}};
}

void write_dialogues(const sandbox::DialogueConfig& config, const steps::Context& context) {
  const sandbox::World world = sandbox::make_world(context.seed);
  core::write_jsonl(context.work / "dialogues_train.jsonl", sandbox::make_train_dialogues(world, config, context.seed), dialogue_row);
  core::write_jsonl(context.work / "dialogues_test.jsonl", sandbox::make_test_dialogues(world, config, context.seed), dialogue_row);
  core::write_jsonl(context.work / "instructions.jsonl", sandbox::instructions(), instruction_row);
}

}  // namespace

void add_sandbox_dialogues(steps::Plan& plan) {
  if (recipe::from_sandbox(plan.recipe) && recipe::has_gatt(plan.recipe))
    plan.add(steps::make_step("dialogues", plan.recipe.sandbox.dialogues, {}, write_dialogues));
}

}  // namespace keel::pipelines::collection
