#include "pipelines/run/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/json.h"
#include "core/system_error.h"
#include "pipelines/run/fail_point.h"
#include "pipelines/run/lineage.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;

// Finished results of every stage, newest first.
std::map<std::string, std::vector<Artefact>> finished_results(const RunDirectory& run) {
  std::map<std::string, std::vector<Artefact>> results;
  if (!fs::exists(run.root() / "stages")) return results;
  for (const auto& stage : fs::directory_iterator(run.root() / "stages"))
    for (const auto& entry : fs::directory_iterator(stage.path())) {
      const std::string name = entry.path().filename();
      if (entry.is_symlink() || !entry.is_directory() || name.starts_with('.') || entry.path().extension() == ".partial") continue;
      if (auto manifest = read_manifest(entry.path())) results[stage.path().filename()].push_back({entry.path(), std::move(*manifest)});
    }
  for (auto& [stage, list] : results)
    std::sort(list.begin(), list.end(), [](const Artefact& a, const Artefact& b) {
      return std::pair(a.manifest.finished, a.manifest.key) > std::pair(b.manifest.finished, b.manifest.key);
    });
  return results;
}

// The measure of the last model that has it; nothing when none has.
std::optional<double> measure_of(const Artefact& report, const std::string& measure) {
  const nlohmann::json summary = core::read_json_file(report.folder / "summary.json");
  std::optional<double> value;
  for (const auto& model : summary.at("models"))
    if (const auto found = model.find(measure); found != model.end() && found->is_object()) value = found->at("mean").get<double>();
  return value;
}

const Artefact& best_report(const std::vector<Artefact>& reports, const std::string& measure) {
  const Artefact* best = nullptr;
  double most = 0;
  for (const auto& report : reports) {
    const auto value = measure_of(report, measure);
    if (value && (best == nullptr || *value > most)) best = &report, most = *value;
  }
  if (best == nullptr)
    throw core::UsageError(
        fmt::format("no finished report measures \"{}\"; summary.json names what there is, e.g. gold_helpfulness", measure));
  return *best;
}

}  // namespace

std::vector<fs::path> prune(RunDirectory& run, const PruneOptions& options) {
  if (fs::exists(run.root() / ".." / "sweep.lock.json"))
    throw core::UsageError(fmt::format("{} belongs to a sweep, whose cells are all in use", run.root().string()));
  const auto results = finished_results(run);
  std::vector<Artefact> roots;
  for (const auto& [stage, list] : results) {
    const auto last = std::min(list.size(), static_cast<size_t>(options.keep_last));
    roots.insert(roots.end(), list.begin(), list.begin() + static_cast<std::ptrdiff_t>(last));
    const auto current = run.current(stage);
    if (!current) continue;
    if (auto manifest = read_manifest(*current)) roots.push_back({fs::weakly_canonical(*current), std::move(*manifest)});
  }
  if (!options.keep_best.empty()) {
    const auto reports = results.find("report");
    roots.push_back(best_report(reports == results.end() ? std::vector<Artefact>{} : reports->second, options.keep_best));
  }
  std::set<std::string> kept;
  for (const auto& root : roots)
    for (const auto& one : ancestry(root))
      kept.insert(one.manifest.key);

  std::vector<fs::path> removed;
  for (const auto& [stage, list] : results) {
    if (!options.dry_run) run.remove_trash(stage);  // left by an earlier kill
    for (const auto& one : list) {
      if (kept.contains(one.manifest.key)) continue;
      removed.push_back(one.folder);
      if (options.dry_run) continue;
      discard(one.folder);
      run.append_event("pruned", stage, core::dump_json({{"key", one.manifest.key}}));
    }
  }
  return removed;
}

}  // namespace keel::pipelines::run
