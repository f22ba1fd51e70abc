// Runs the stages of a recipe in a run directory: reuses finished results, continues half-done ones and computes the rest.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pipelines/run/attempt.h"
#include "pipelines/run/manifest.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/run/stage_graph.h"

namespace keel::pipelines::run {

struct RunOptions {
  uint64_t seed = 0;
  Numerics numerics;
  int threads = 1;
  std::string until;                            // stop after this stage; "" = run all
  std::string only;                             // this stage alone; "" = run all
  OutputCheck check = OutputCheck::touched;     // of finished outputs
  std::map<std::string, std::string> versions;  // for the manifests
};

enum class StageState {
  done,     // finished under the present recipe
  partial,  // half done under it
  pending,  // never finished, or its inputs are not known yet
  stale     // finished under another recipe only
};
std::string_view state_name(StageState state);

struct StageStatus {
  std::string name;
  StageState state = StageState::pending;
  std::string reason;            // "waits for sft", "config.lr: 0.1 -> 0.2"; empty when done
  std::string key;               // empty until its inputs are finished
  std::filesystem::path folder;  // of the finished result; empty unless done
  std::optional<Attempt> bound;  // half-done work, bound to its thread count and vector level
};

// The state of the stages that `options` selects, in order. Changes nothing; works while another process runs. Throws ConfigError for an
// impossible graph, UsageError for an unknown --until or --only, DataError when options.check finds a finished output missing or changed.
std::vector<StageStatus> plan(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options);

// The thread count of the half-done work that execute() would continue: take it when the user named none.
std::optional<int> required_threads(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options);

// UsageError where execute() would refuse to begin: half-done work insists on another thread count or vector level, or the stage of --only
// waits for an earlier one.
void check_ready(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options);

// Runs what is not done, of the stages that `options` selects, after run.begin(). Returns their final state: all done. Throws as plan();
// UsageError when half-done work needs another thread count or vector level, or --only waits for an earlier stage; Interrupted between
// stages; any exception of a stage.
std::vector<StageStatus> execute(RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options);

// Reasons for the state of `stage`, one a line: every difference between the present recipe and its newest finished result.
std::vector<std::string> explain(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options,
                                 const std::string& stage);

}  // namespace keel::pipelines::run
