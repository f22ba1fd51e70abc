#include "pipelines/cli/runs/runs.h"

#include <fmt/format.h>

#include "core/digest_cache.h"
#include "core/error.h"
#include "core/progress.h"
#include "pipelines/run/attempt.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/stages/graph.h"
#include "pipelines/stages/outside.h"
#include "runtime/device.h"

namespace keel::pipelines::cli::runs {
namespace {

// The stage that a running process works on, and its progress.
void find_work_(const run::RunDirectory& run, RunView& view) {
  view.running = run.running();
  if (!view.running) return;
  for (const auto& stage : view.stages) {
    if (stage.state != run::StageState::partial) continue;
    const auto line = core::published_progress(run::progress_file(run.partial_folder(stage.name, stage.key)));
    if (!view.working.empty() && !line) continue;  // half-done work of an earlier command may lie before it
    view.working = stage.name;
    view.progress = line;
    if (line) return;
  }
}

}  // namespace

run::RunOptions options_for(const recipe::Recipe& recipe, const common::Invocation& invocation) {
  return {.seed = static_cast<uint64_t>(recipe.seed),
          .numerics = {.device = invocation.device, .dtype = invocation.precision, .deterministic = true},
          .threads = invocation.threads,
          .until = {},
          .only = {},
          .versions = runtime::program_versions()};
}

run::RunOptions options_of(const run::RunDirectory& run, const recipe::Recipe& recipe, const common::Invocation& invocation) {
  run::RunOptions options = options_for(recipe, invocation);
  const auto record = run.record();
  if (record && !invocation.device_given) options.numerics.device = record->device;
  if (record && !invocation.precision_given) options.numerics.dtype = record->precision;
  return options;
}

recipe::Recipe recorded_recipe(const run::RunDirectory& run, const std::string& overlay, const std::vector<std::string>& settings) {
  const auto record = run.record();
  if (!record) throw core::UsageError(fmt::format("{} holds no run: give the folder that keel run wrote to", run.root().string()));
  return recipe::read_recorded_recipe(record->config, run.root() / "run.json", overlay, settings);
}

std::vector<run::Stage> recorded_stages(const run::RunDirectory& run, const recipe::Recipe& recipe, bool verify) {
  core::DigestCache known(run.digest_file(), !verify);
  return stages::build_stages(recipe, stages::external_digests(recipe, known, run.record()->external));
}

RunView view_of(const std::string& folder, run::OutputCheck check, const common::Invocation& invocation) {
  const run::RunDirectory run(folder);
  const recipe::Recipe recipe = recorded_recipe(run);
  run::RunOptions options = options_of(run, recipe, invocation);
  options.check = check;
  RunView view{.stages = plan(run, recorded_stages(run, recipe, check == run::OutputCheck::digests), options)};
  find_work_(run, view);
  return view;
}

std::string state_of(const RunView& view, const run::StageStatus& stage) {
  return view.running && stage.name == view.working ? "running" : std::string(run::state_name(stage.state));
}

std::vector<std::string> status_lines(const RunView& view) {
  std::vector<std::string> lines;
  for (const auto& stage : view.stages)
    lines.push_back(fmt::format("{:<20} {:<8} {}", stage.name, state_of(view, stage), stage.reason));
  return lines;
}

}  // namespace keel::pipelines::cli::runs
