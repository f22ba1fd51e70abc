// One pass over the stages in order: a key is known once the contents of all inputs are.
#include "pipelines/run/stage_runner.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/json.h"
#include "core/log.h"
#include "core/progress.h"
#include "pipelines/run/attempt.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
struct Finished {
  fs::path folder;
  InputRecord record;
};

// Looks at the stages in order and remembers the finished ones, whose contents the keys of later stages need.
class Survey {
 public:
  Survey(const RunDirectory& run, const RunOptions& options) : run_(run), options_(options) {}

  StageStatus look(const Stage& stage) {
    StageStatus status;
    status.name = stage.name;
    const nlohmann::json now = material(stage);
    for (const auto& input : stage.inputs) {
      if (finished_.contains(input)) continue;
      status.reason = "waits for " + input;
      return status;
    }
    status.key = key_of(now);
    const fs::path folder = run_.committed_folder(stage.name, status.key);
    if (const auto manifest = read_manifest(folder); manifest && manifest->key == status.key) {
      check_outputs(folder, *manifest, options_.check);
      if (options_.check == OutputCheck::digests) verified_.insert(stage.name);
      finished_[stage.name] = {folder, {manifest->key, content_digest(manifest->outputs)}};
      status.state = StageState::done;
      status.folder = folder;
      return status;
    }
    describe_unfinished(stage, now, status);
    return status;
  }

  // A result computed from a damaged input would keep the key of the correct one. DataError, as check_outputs().
  void verify_inputs(const Stage& stage) {
    for (const auto& input : stage.inputs)
      if (verified_.insert(input).second)
        check_outputs(finished_.at(input).folder, *read_manifest(finished_.at(input).folder), OutputCheck::digests);
  }

  // Differences from the newest finished result of the stage; nothing when there is none.
  std::optional<std::vector<std::string>> changes(const Stage& stage, const nlohmann::json& now) const {
    const auto folder = run_.current(stage.name);
    const auto manifest = folder ? read_manifest(*folder) : std::nullopt;
    if (!manifest) return std::nullopt;
    return key_differences(core::parse_json(manifest->material, "key material"), now);
  }

  nlohmann::json material(const Stage& stage) const {
    std::map<std::string, std::string> digests;
    for (const auto& [name, finished] : finished_)
      digests[name] = finished.record.digest;
    return key_material(stage, options_.numerics, options_.seed, digests);
  }

  StageTask task(const Stage& stage, const std::string& key) const {
    StageTask task{stage, key, core::dump_json(material(stage)), {}, {}, options_.numerics.device, options_.versions};
    task.context = {run_.partial_folder(stage.name, key), {}, options_.seed, options_.threads};
    for (const auto& input : stage.inputs) {
      task.inputs[input] = finished_.at(input).record;
      task.context.inputs[input] = finished_.at(input).folder;
    }
    return task;
  }

 private:
  void describe_unfinished(const Stage& stage, const nlohmann::json& now, StageStatus& status) const {
    const fs::path partial = run_.partial_folder(stage.name, status.key);
    if (read_manifest(partial)) {
      status.state = StageState::partial;
      status.reason = "its outputs are complete, only the commit is missing";
    } else if (const auto attempt = read_attempt(partial)) {
      status.state = StageState::partial;
      status.bound = binding_attempt(partial);
      status.reason =
          fmt::format("half done since {} with {} thread{}", attempt->started, attempt->threads, attempt->threads == 1 ? "" : "s");
    } else if (const auto lines = changes(stage, now)) {
      status.state = StageState::stale;
      status.reason = lines->empty() ? "its finished result has another key" : lines->front();
    } else {
      status.reason = "never run";
    }
  }

  const RunDirectory& run_;
  const RunOptions& options_;
  std::map<std::string, Finished> finished_;
  std::set<std::string> verified_;
};

// First and last index of the stages that --until and --only select.
std::pair<size_t, size_t> selection(const std::vector<Stage>& stages, const RunOptions& options) {
  if (!options.until.empty() && !options.only.empty()) throw core::UsageError("--until and --only exclude each other; give one of them");
  if (!options.only.empty()) {
    const size_t index = find_stage(stages, options.only, "--only");
    return {index, index + 1};
  }
  return {0, options.until.empty() ? stages.size() : find_stage(stages, options.until, "--until") + 1};
}

// A plan that does not check outputs; execute() repeats it with the check that the user asked for.
std::vector<StageStatus> glance(const RunDirectory& run, const std::vector<Stage>& stages, RunOptions options) {
  options.check = OutputCheck::sizes;
  return plan(run, stages, options);
}

void check_numerics(const RunDirectory& run, const StageStatus& status, const RunOptions& options) {
  if (!status.bound) return;
  const fs::path partial = run.partial_folder(status.name, status.key);
  if (status.bound->threads != options.threads)
    throw core::UsageError(
        fmt::format("stage '{}' is half done with {} threads, and another count would change its last bits; go on with --threads {}, "
                    "or delete {} to start the stage again with {}",
                    status.name, status.bound->threads, status.bound->threads, partial.string(), options.threads));
  if (status.bound->versions != options.versions)
    throw core::UsageError(
        fmt::format("stage '{}' is half done by another program or machine ({}), which may change its last bits; go on where it began, or "
                    "delete {} to start the stage again",
                    status.name, fmt::join(key_differences(status.bound->versions, options.versions), "; "), partial.string()));
}

}  // namespace

std::string_view state_name(StageState state) {
  switch (state) {
    case StageState::done:
      return "done";
    case StageState::partial:
      return "partial";
    case StageState::pending:
      return "pending";
    case StageState::stale:
      return "stale";
  }
  return "";
}

std::vector<StageStatus> plan(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options) {
  check_graph(stages);
  const auto [first, last] = selection(stages, options);
  Survey survey(run, options);
  std::vector<StageStatus> statuses;
  for (size_t i = 0; i < last; ++i) {
    StageStatus status = survey.look(stages[i]);
    if (i >= first) statuses.push_back(std::move(status));
  }
  return statuses;
}

std::optional<int> required_threads(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options) {
  for (const auto& status : glance(run, stages, options)) {
    if (status.bound) return status.bound->threads;
  }
  return std::nullopt;
}

void check_ready(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options) {
  for (const auto& status : glance(run, stages, options)) {
    if (status.key.empty() && !options.only.empty())
      throw core::UsageError(fmt::format("stage '{}' {}, which is not finished; run without --only first", status.name, status.reason));
    check_numerics(run, status, options);
  }
}

std::vector<StageStatus> execute(RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options) {
  check_ready(run, stages, options);  // before hours of work

  const auto [first, last] = selection(stages, options);
  Survey survey(run, options);
  std::vector<StageStatus> statuses;
  for (size_t i = 0; i < last; ++i) {
    const Stage& stage = stages[i];
    StageStatus status = survey.look(stage);
    if (i < first) continue;
    if (status.state == StageState::done) {
      run.set_current(stage.name, status.key);
      core::log_debug(fmt::format("stage {} of {}: {} stays, {}", i + 1, stages.size(), stage.name, status.folder.string()));
    } else {
      check_numerics(run, status, options);
      if (core::interrupt_requested())
        throw core::Interrupted(fmt::format("stopped before stage '{}'; the same command goes on from there", stage.name));
      core::log_info(fmt::format("stage {} of {}: {} ({})", i + 1, stages.size(), stage.name, status.reason));
      survey.verify_inputs(stage);
      run_and_commit(run, survey.task(stage, status.key));
      status = survey.look(stage);
      core::log_info(fmt::format("{}: done in {}", stage.name, core::format_duration(read_manifest(status.folder)->seconds)));
    }
    statuses.push_back(std::move(status));
  }
  return statuses;
}

std::vector<std::string> explain(const RunDirectory& run, const std::vector<Stage>& stages, const RunOptions& options,
                                 const std::string& stage) {
  check_graph(stages);
  const size_t index = find_stage(stages, stage, "STAGE");
  Survey survey(run, options);
  for (size_t i = 0; i < index; ++i)
    survey.look(stages[i]);
  const nlohmann::json now = survey.material(stages[index]);
  const StageStatus status = survey.look(stages[index]);
  if (status.state == StageState::done) return {fmt::format("done: the present recipe gives the key of {}", status.folder.string())};
  std::vector<std::string> lines = {fmt::format("{}: {}", state_name(status.state), status.reason)};
  const auto changes = survey.changes(stages[index], now);
  if (changes) {
    for (const auto& line : *changes) {
      if (line != status.reason) lines.push_back(line);
    }
  }
  return lines;
}

}  // namespace keel::pipelines::run
