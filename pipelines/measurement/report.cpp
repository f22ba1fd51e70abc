// The last stage: summary.json for programs, report.html for people.
#include "pipelines/report/summary.h"
#include "pipelines/steps/plan.h"

namespace keel::pipelines::measurement {
namespace {

struct ReportSettings {
  recipe::Recipe recipe;
  std::vector<std::string> stages;  // all before it, in order
};

void visit(ReportSettings& settings, core::Fields& fields) {
  fields.section("recipe", settings.recipe, "the whole recipe");
  fields("stages", settings.stages, "what is reported");
}

// Reads every stage under its own name.
void write_report(const ReportSettings& settings, const steps::Context& context) {
  report::Folders folders;
  for (const auto& stage : settings.stages)
    folders.all.emplace_back(stage, context.at(stage));
  report::write_run_report(settings.recipe, folders, context.work);
}

}  // namespace

void add_report(steps::Plan& plan) {
  ReportSettings settings{.recipe = plan.recipe, .stages = {}};
  steps::Inputs inputs;
  for (const auto& stage : plan.stages) {
    settings.stages.push_back(stage.name);
    inputs.push_back({stage.name, steps::output_of(stage.name)});
  }
  plan.add(steps::make_step("report", settings, std::move(inputs), write_report));
}

}  // namespace keel::pipelines::measurement
