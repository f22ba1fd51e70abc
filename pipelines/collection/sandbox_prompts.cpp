// Prompts of a later version in the sandbox. Each version has new prompts. A skill that prompts leave out is forgotten by the models (Llama
// 2 paper, 3.2.3: V3 and its rhymes).
#include "core/jsonl.h"
#include "core/rng.h"
#include "pipelines/steps/plan.h"
#include "sandbox/prompts.h"
#include "sandbox/world.h"

namespace keel::pipelines::collection {
namespace {

struct SandboxPromptSettings {
  int64_t version = 2;
  int64_t helpful = 0, hazard = 0, lookalike = 0;
  std::string absent_skill;
};

void visit(SandboxPromptSettings& settings, core::Fields& fields) {
  fields("version", settings.version, "N of VN");
  fields("helpful", settings.helpful, "prompts on skills");
  fields("hazard", settings.hazard, "prompts that must be refused");
  fields("lookalike", settings.lookalike, "prompts that only look hazardous");
  fields("absent_skill", settings.absent_skill, "skill that nobody asks for");
}

void write_prompts(const SandboxPromptSettings& settings, const steps::Context& context) {
  const sandbox::World world = sandbox::make_world(context.seed);
  sandbox::PromptCounts counts{.helpful = settings.helpful, .hazard = settings.hazard, .lookalike = settings.lookalike};
  if (!settings.absent_skill.empty())
    for (const auto& skill : sandbox::skills())
      if (skill != settings.absent_skill) counts.skills.push_back(skill);
  const uint64_t seed = core::Stream(context.seed, "sandbox.prompts", static_cast<uint64_t>(settings.version)).next();
  core::write_jsonl(context.work / "prompts_train.jsonl", sandbox::make_prompts(world, sandbox::Split::train, counts, seed),
                    sandbox::to_json);
}

}  // namespace

void add_sandbox_prompts(steps::Plan& plan, const recipe::Version& version) {
  const recipe::SandboxConfig& config = plan.recipe.sandbox;
  if (!recipe::from_sandbox(plan.recipe) || version.number == 1) return;  // V1's come with the data
  plan.add(steps::make_step(version.prompts,
                            SandboxPromptSettings{.version = version.number,
                                                  .helpful = config.helpful_prompts,
                                                  .hazard = config.hazard_prompts,
                                                  .lookalike = config.lookalike_prompts,
                                                  .absent_skill = config.absent_skill},
                            {}, write_prompts));
}

}  // namespace keel::pipelines::collection
