// Work on one stage: its half-done folder, and how it becomes a finished one.
//
// Commit: outputs synced and hashed, manifest.json written into the half-done folder, scratch removed, folder renamed, `current` swapped. A
// kill between any two steps loses nothing: with a manifest the next run continues the commit, without one the stage.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "pipelines/run/manifest.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/run/stage_graph.h"

namespace keel::pipelines::run {

// attempt.json of a half-done folder
struct Attempt {
  std::string key;
  std::string device;
  int threads = 1;
  std::map<std::string, std::string> versions;  // as in the manifest
  int attempts = 1;                             // how often work on it was begun
  double seconds = 0;                           // wall clock of the attempts that were not killed
  std::string started;                          // UTC, the first time
};

// Where the work in a half-done folder says how far it is (core::published_progress); its name keeps it out of the outputs.
std::filesystem::path progress_file(const std::filesystem::path& partial);

// Nothing when there is no half-done folder or its attempt.json is not written yet.
std::optional<Attempt> read_attempt(const std::filesystem::path& partial);

// UsageError for a folder that is not half-done work of keel: it has no attempt.json, or it has links, through which keel would write
// elsewhere. Nothing happens when there is no folder.
void check_half_done_folder(const std::filesystem::path& partial);

// Whether the folder holds a checkpoint: going on from it with other threads or by another program would give other last bits.
bool holds_checkpoint(const std::filesystem::path& partial);

// The attempt whose checkpoint the next one would go on from; nothing when there is none, or when only the commit is missing.
std::optional<Attempt> binding_attempt(const std::filesystem::path& partial);

// Everything known about a stage before it runs.
struct StageTask {
  const Stage& stage;
  std::string key, material;  // `material` as JSON text
  std::map<std::string, InputRecord> inputs;
  StageContext context;
  std::string device;
  std::map<std::string, std::string> versions;
};

// Runs the stage, or continues an earlier attempt, and commits it. An exception of the stage is recorded in events.jsonl and passed on; its
// half-done folder stays.
void run_and_commit(RunDirectory& run, const StageTask& task);

}  // namespace keel::pipelines::run
