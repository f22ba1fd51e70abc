// Removes results of a run that are neither in use nor inputs of what is kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "pipelines/run/run_directory.h"

namespace keel::pipelines::run {

struct PruneOptions {
  int64_t keep_last = 1;  // newest finished results of each stage, besides the ones in use
  std::string keep_best;  // a measure of summary.json, e.g. "gold_helpfulness": the report whose last model has the highest value stays too
  bool dry_run = false;
};

// Finished results that are removed (or would be), by folder; half-done ones stay, because their command may continue. Never one that the
// present recipe uses, one that is kept by `options`, or one that a kept result was made from. Each is renamed to .trash-* first, so that a
// kill leaves no half of one behind under its name.
std::vector<std::filesystem::path> prune(RunDirectory& run, const PruneOptions& options);

}  // namespace keel::pipelines::run
