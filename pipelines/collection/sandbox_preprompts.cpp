// Safety preprompts of the sandbox, for context distillation.
#include <nlohmann/json.hpp>

#include "core/jsonl.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/steps/plan.h"
#include "sandbox/instructions.h"

namespace keel::pipelines::collection {
namespace {

struct NoSettings {};

void visit(NoSettings&, core::Fields&) {}

void write_preprompts(const NoSettings&, const steps::Context& context) {
  core::write_jsonl(context.work / "preprompts.jsonl", sandbox::preprompts(), [](const sandbox::Preprompt& preprompt) -> nlohmann::json {
    return {{"text", preprompt.text}, {"category", preprompt.category}};
  });
}

}  // namespace

void add_sandbox_preprompts(steps::Plan& plan) {
  if (recipe::from_sandbox(plan.recipe) && recipe::has_distillation(plan.recipe))
    plan.add(steps::make_step("preprompts", NoSettings{}, {}, write_preprompts));
}

}  // namespace keel::pipelines::collection
