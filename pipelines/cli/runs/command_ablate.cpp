// keel ablate: every cell of a sweep as a pipeline run; all of them share one run folder, so that equal stages are computed once.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include <c10/util/Exception.h>

#include "core/digest_cache.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "core/version.h"
#include "evaluation/report.h"
#include "pipelines/ablation/sweep.h"
#include "pipelines/ablation/sweep_results.h"
#include "pipelines/cli/common/options.h"
#include "pipelines/cli/runs/commands.h"
#include "pipelines/run/stage_runner.h"
#include "pipelines/stages/graph.h"
#include "pipelines/stages/outside.h"
#include "runtime/device.h"

namespace keel::pipelines::cli::runs {
namespace {

namespace fs = std::filesystem;

// Records the sweep beside its results.
void freeze(const ablation::Sweep& sweep, const fs::path& out) {
  nlohmann::json cells = nlohmann::json::array(), distributions = nlohmann::json::array();
  for (const auto& distribution : sweep.distributions)
    distributions.push_back(distribution.name);
  for (const auto& cell : sweep.cells) {
    cells.push_back(nlohmann::json::object());
    for (const auto& [key, value] : cell)
      cells.back()[key] = value;
  }
  core::write_file(out / "sweep.lock.json", nlohmann::json{{"name", sweep.name},
                                                           {"base", sweep.base.string()},
                                                           {"seeds", sweep.seeds},
                                                           {"cells", cells},
                                                           {"baseline", sweep.baseline},
                                                           {"until", sweep.until},
                                                           {"measures", sweep.measures},
                                                           {"distributions", distributions}}
                                                    .dump(2) +
                                                "\n");
}

// Runs the unfinished stages of one cell and reads its measures. A cell that cannot be computed counts as failed; errors that stop the
// whole sweep (a signal, a full disk) are thrown.
ablation::CellRun run_cell(run::RunDirectory& run, const ablation::Sweep& sweep, size_t cell, int64_t seed, bool threads_given,
                           core::DigestCache& known, run::RunOptions options) {
  ablation::CellRun result{.cell = cell, .seed = seed, .failure = {}, .measures = {}};
  std::string mistyped;
  recipe::Recipe recipe = ablation::recipe_of(sweep, sweep.cells[cell]);
  recipe.seed = seed;
  options.seed = static_cast<uint64_t>(seed);
  options.until = until_of(sweep, sweep.cells[cell]);
  const std::vector<run::Stage> stages = stages::build_stages(recipe, stages::external_digests(recipe, known));
  if (!threads_given) options.threads = run::required_threads(run, stages, options).value_or(options.threads);
  run::check_ready(run, stages, options);  // another thread count is not the cell's fault: it stops the sweep
  runtime::configure_process(options.threads);
  try {
    stages::try_judges(recipe, run, stages, options);
    std::map<std::string, fs::path> folders;
    for (const auto& status : execute(run, stages, options))
      folders[status.name] = status.folder;
    for (const auto& measure : sweep.measures) {
      const auto value = ablation::measure_of(folders, measure);
      if (value)
        result.measures[measure] = *value;
      else if (ablation::ends_early(sweep.cells[cell]) || !folders.contains(measure.substr(0, measure.find('.'))))
        continue;  // of a stage that this cell does not have
      else if (cell == sweep.baseline)
        mistyped = measure;
      else
        throw core::UsageError(fmt::format("no finished stage of the cell measures \"{}\"", measure));
    }
    for (const auto& distribution : sweep.distributions)
      result.distributions[distribution.name] = ablation::values_of(folders, distribution);
  } catch (const core::Error& error) {
    if (error.code() == core::Exit::interrupted || error.code() == core::Exit::io || error.code() == core::Exit::locked) throw;
    result.failure = error.what();
  } catch (const c10::Error& error) {
    result.failure = error.what_without_backtrace();
  }
  if (!mistyped.empty())  // else all cells would fail for it, hours later
    throw core::UsageError(fmt::format(
        "measures: no finished stage of the baseline has \"{}\" (NAME.REST, docs/runs.md); what is computed is kept", mistyped));
  return result;
}

// New, empty, or a sweep's folder, which lacks sweep.lock.json if it was killed early.
bool is_sweep_folder(const fs::path& out) {
  if (!fs::exists(out) || fs::exists(out / "sweep.lock.json")) return true;
  return std::all_of(fs::directory_iterator(out), fs::directory_iterator(), [](const auto& entry) {
    const std::string name = entry.path().filename();
    return name == "run" || name.starts_with('.');
  });
}

void write_results(const ablation::Sweep& sweep, const std::vector<ablation::CellRun>& runs, const fs::path& out) {
  const auto table = ablation::compare_cells(sweep, runs);
  core::write_file(out / "table.csv", ablation::csv_of(sweep, table, runs));
  core::write_file(out / "table.md", ablation::markdown_of(sweep, table, runs));
  core::write_file(out / "report.html", evaluation::render_html(ablation::report_of(sweep, table, runs)));
}

void ablate(const std::string& file, const fs::path& out, const common::Invocation& invocation) {
  if (!invocation.config.empty()) throw core::UsageError("--config: the settings of a sweep stand in its file and in its base recipe");
  const ablation::Sweep sweep = ablation::read_sweep(file, invocation.set);
  run::RunDirectory run(out / "run");
  run.check_recipe(sweep.name);
  if (!is_sweep_folder(out))
    throw core::UsageError(
        fmt::format("{} holds files but no sweep.lock.json, so it is no sweep of keel; choose another folder", out.string()));
  if (invocation.seed_given) throw core::UsageError("--seed: a sweep names its seeds itself, in \"seeds\"");
  for (const auto& cell : sweep.cells)  // a missing file is reported before hours of work
    stages::check_external_files(ablation::recipe_of(sweep, cell));
  recipe::Recipe base = ablation::recipe_of(sweep, sweep.cells[sweep.baseline]);
  core::DigestCache known(run.digest_file());
  core::make_directories(out);
  run.begin({.recipe = sweep.name,
             .version = core::kVersion,
             .config = core::dump_json(core::json_of(base)),
             .external = stages::external_digests(base, known),
             .device = invocation.device,
             .precision = invocation.precision});
  freeze(sweep, out);
  const run::RunOptions options{
      .seed = 0,
      .numerics = {.device = invocation.device, .dtype = invocation.precision, .deterministic = true},
      .threads = runtime::configure_process(invocation.threads_given ? invocation.threads : static_cast<int>(base.threads)),
      .until = {},
      .only = {},
      .versions = runtime::program_versions()};
  std::vector<ablation::CellRun> runs;
  const size_t total = sweep.cells.size() * sweep.seeds.size();
  // Seed by seed: every cell has a first result before the second seed begins.
  for (const int64_t seed : sweep.seeds)
    for (size_t i = 0; i < sweep.cells.size(); ++i) {
      const size_t cell = (sweep.baseline + i) % sweep.cells.size();  // the baseline first: other cells reuse its stages
      core::log_info(fmt::format("cell {} of {}: {}, seed {}", runs.size() + 1, total, ablation::label_of(sweep.cells[cell]), seed));
      runs.push_back(run_cell(run, sweep, cell, seed, invocation.threads_given, known, options));
      known.save();
      if (!runs.back().failure.empty()) core::log_warn(fmt::format("cell failed: {}", runs.back().failure));
      write_results(sweep, runs, out);
    }
  std::cout << ablation::markdown_of(sweep, ablation::compare_cells(sweep, runs), runs);
  core::log_info(fmt::format("report: {}", (out / "report.html").string()));
  const auto failed = std::count_if(runs.begin(), runs.end(), [](const ablation::CellRun& one) { return !one.failure.empty(); });
  if (failed == std::ssize(runs)) throw core::UsageError("every cell failed: " + runs.front().failure);
}

}  // namespace

void add_ablate(CLI::App& app, common::Invocation& invocation) {
  auto file = std::make_shared<std::string>(), out = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("ablate", "a recipe over a grid of settings and seeds; common stages are computed once");
  command->add_option("sweep", *file, "sweep file, e.g. recipes/sweeps/margin.json")->required()->type_name("SWEEP");
  command->add_option("--out", *out, "folder of the sweep; new, empty, or of the same sweep")->required()->type_name("DIR");
  common::add_common_options(*command, invocation);
  command->get_option("--set")->description(
      "where model or data lie, e.g. --set model=DIR; repeats. All other settings stand in the sweep");
  command->callback([=, &invocation] { invocation.action = [=, &invocation] { ablate(*file, *out, invocation); }; });
}

}  // namespace keel::pipelines::cli::runs
