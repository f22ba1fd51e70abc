#include "pipelines/run/lineage.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "pipelines/run/run_directory.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;

void check_recorded(const fs::path& file, const Artefact& artefact) {
  const std::string name = file.lexically_relative(artefact.folder).generic_string();
  const auto& outputs = artefact.manifest.outputs;
  const auto output = std::find_if(outputs.begin(), outputs.end(), [&](const OutputFile& known) { return known.path == name; });
  if (output == outputs.end())
    throw core::DataError(file, 0, fmt::format("is no output of stage '{}': its manifest does not name it", artefact.manifest.stage));
  if (core::sha256_file(file) != output->sha256)
    throw core::DataError(
        file, 0, fmt::format("was changed after stage '{}' made it: its SHA-256 is not the recorded one", artefact.manifest.stage));
}

}  // namespace

Artefact artefact_of(const fs::path& path) {
  std::error_code failed;
  fs::path place = fs::canonical(path, failed);
  if (failed) throw core::UsageError(fmt::format("{} does not exist", path.string()));
  if (fs::exists(place / "run.json")) {
    const auto report = RunDirectory(place).current("report");
    if (!report)
      throw core::UsageError(
          fmt::format("{} is an unfinished run: name one of its stages, e.g. {}/stages/sft/current", path.string(), path.string()));
    place = fs::canonical(*report);
  }
  // The copies of the report beside run.json.
  if ((place.filename() == "report.html" || place.filename() == "summary.json") && fs::exists(place.parent_path() / "run.json"))
    if (const auto report = RunDirectory(place.parent_path()).current("report"))
      if (core::read_file(*report / place.filename()) == core::read_file(place)) place = fs::canonical(*report / place.filename());
  for (fs::path folder = place; folder.has_relative_path(); folder = folder.parent_path()) {
    auto manifest = fs::is_directory(folder) ? read_manifest(folder) : std::nullopt;
    if (!manifest) continue;
    if (folder == place) check_outputs(folder, *manifest, OutputCheck::digests);
    Artefact artefact{folder, std::move(*manifest)};
    if (fs::is_regular_file(place) && place.filename() != "manifest.json") check_recorded(place, artefact);
    return artefact;
  }
  throw core::UsageError(fmt::format("{} belongs to no finished result of keel: no manifest.json stands in it or above it", path.string()));
}

std::optional<Artefact> sibling(const Artefact& artefact, const std::string& stage, const std::string& key) {
  const fs::path stages = artefact.folder.parent_path().parent_path();
  if (stages.filename() != "stages") return std::nullopt;
  const fs::path folder = RunDirectory(stages.parent_path()).committed_folder(stage, key);
  auto manifest = read_manifest(folder);
  if (!manifest || manifest->key != key) return std::nullopt;
  return Artefact{folder, std::move(*manifest)};
}

std::vector<Artefact> ancestry(const Artefact& artefact) {
  std::vector<Artefact> found;
  std::set<std::string> seen;
  const std::function<void(const Artefact&)> visit = [&](const Artefact& one) {
    if (!seen.insert(one.manifest.key).second) return;
    for (const auto& [stage, input] : one.manifest.inputs)
      if (const auto parent = sibling(one, stage, input.key)) visit(*parent);
    found.push_back(one);
  };
  visit(artefact);
  return found;
}

}  // namespace keel::pipelines::run
