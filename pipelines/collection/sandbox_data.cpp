// The initial data of a run on the sandbox: demonstrations and prompts.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "data/messages.h"
#include "pipelines/steps/plan.h"
#include "sandbox/prompts.h"

namespace keel::pipelines::collection {
namespace {

void write_data(const recipe::SandboxDataConfig& config, const steps::Context& context) {
  const sandbox::World world = sandbox::make_world(context.seed);
  const auto dialogue_row = [](const core::Dialogue& dialogue) -> nlohmann::json { return {{"messages", data::messages_json(dialogue)}}; };
  sandbox::DemonstrationConfig held_out = config.demonstrations;
  held_out.count = std::max<int64_t>(50, held_out.count / 10);
  core::write_jsonl(context.work / "demonstrations.jsonl", sandbox::make_demonstrations(world, config.demonstrations, context.seed),
                    dialogue_row);
  core::write_jsonl(context.work / "demonstrations_validation.jsonl", sandbox::make_demonstrations(world, held_out, context.seed + 1),
                    dialogue_row);

  const auto write_prompts = [&](const char* name, sandbox::Split split, const sandbox::PromptCounts& counts) {
    core::write_jsonl(context.work / name, sandbox::make_prompts(world, split, counts, context.seed), sandbox::to_json);
  };
  write_prompts("prompts_train.jsonl", sandbox::Split::train,
                {.helpful = config.helpful_prompts, .hazard = config.hazard_prompts, .lookalike = config.lookalike_prompts});
  write_prompts("prompts_validation.jsonl", sandbox::Split::validation,
                {.helpful = config.helpful_prompts / 4, .hazard = config.hazard_prompts / 4, .lookalike = config.lookalike_prompts / 4});
  write_prompts("prompts_test.jsonl", sandbox::Split::test,
                {.helpful = config.test_helpful, .hazard = config.test_hazard, .lookalike = config.test_lookalike});
}

}  // namespace

void add_sandbox_data(steps::Plan& plan) {
  if (recipe::from_sandbox(plan.recipe)) plan.add(steps::make_step<recipe::SandboxDataConfig>("data", plan.recipe.sandbox, {}, write_data));
}

}  // namespace keel::pipelines::collection
