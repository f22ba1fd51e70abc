// Where a result comes from: the manifests of a run, followed from input to input.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pipelines/run/manifest.h"

namespace keel::pipelines::run {

// A finished result: a stage of a run, or the folder of a step that ran by itself.
struct Artefact {
  std::filesystem::path folder;
  Manifest manifest;
};

// The result that `path` (a file or folder, links followed) belongs to; of a run folder, its report. UsageError when `path` is missing or
// no result holds it; DataError for a file whose bytes differ from the recorded ones.
Artefact artefact_of(const std::filesystem::path& path);

// The result and everything it was made from, each once, inputs first. A result that was pruned is left out.
std::vector<Artefact> ancestry(const Artefact& artefact);

// The finished result of `stage` with `key` in the run that `artefact` belongs to; nothing when it is gone, or `artefact` is of no run.
std::optional<Artefact> sibling(const Artefact& artefact, const std::string& stage, const std::string& key);

}  // namespace keel::pipelines::run
