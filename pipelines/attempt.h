// One stage being worked on: its half-done folder, and how that becomes a finished one.
//
// Commit: outputs synced and hashed, manifest.json written into the half-done folder, scratch removed, folder renamed, `current` swapped.
// A kill between any two steps loses nothing: with a manifest the next run goes on with the commit, without one with the stage.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "pipelines/manifest.h"
#include "pipelines/run_directory.h"
#include "pipelines/stage_graph.h"

namespace keel::pipelines {

// attempt.json of a half-done folder
struct Attempt {
  std::string key;
  std::string device;
  int threads = 1;
  int attempts = 1;     // how often work on it was begun
  double seconds = 0;   // wall clock of the attempts that ended in order
  std::string started;  // UTC, the first time
};

// Nothing when there is no half-done folder or its attempt.json is not written yet.
std::optional<Attempt> read_attempt(const std::filesystem::path& partial);

// The thread count that a half-done folder insists on, because its checkpoint would go on with other last bits; nothing when it holds
// no work yet, or all of it.
std::optional<int> insisted_threads(const std::filesystem::path& partial);

// Everything that is known of a stage before it runs.
struct StageTask {
  const Stage& stage;
  std::string key, material;  // `material` as JSON text
  std::map<std::string, InputRecord> inputs;
  StageContext context;
  std::string device;
  std::map<std::string, std::string> versions;
};

// Runs the stage, or goes on where an earlier attempt stopped, and commits it. What the stage throws is recorded in events.jsonl and
// passed on; its half-done folder stays.
void run_and_commit(RunDirectory& run, const StageTask& task);

}  // namespace keel::pipelines
