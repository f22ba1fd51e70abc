// The half-done folder: begun, continued, hashed, renamed.
#include "pipelines/run/attempt.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/progress.h"
#include "core/system_error.h"
#include "pipelines/run/fail_point.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

void write_attempt(const fs::path& partial, const Attempt& attempt) {
  const nlohmann::json object = {{"key", attempt.key},           {"device", attempt.device},     {"threads", attempt.threads},
                                 {"versions", attempt.versions}, {"attempts", attempt.attempts}, {"seconds", attempt.seconds},
                                 {"started", attempt.started}};
  core::write_file(partial / "attempt.json", object.dump(2) + "\n");
}

// Creates or continues the half-done folder.
Attempt begin_attempt(RunDirectory& run, const StageTask& task) {
  const fs::path& partial = task.context.work;
  auto earlier = read_attempt(partial);
  Attempt attempt = earlier.value_or(Attempt{.key = task.key, .device = task.device, .versions = {}, .attempts = 0, .started = utc_now()});
  ++attempt.attempts;
  attempt.threads = task.context.threads;
  attempt.versions = task.versions;
  core::make_directories(partial);
  write_attempt(partial, attempt);
  const nlohmann::json details = {{"key", task.key}, {"threads", attempt.threads}, {"attempt", attempt.attempts}};
  run.append_event(earlier ? "resumed" : "started", task.stage.name, details.dump());
  fail_point("stage.started");
  return attempt;
}

// While it lives, the stage's progress can be read by others.
struct Published {
  explicit Published(const fs::path& file) { core::publish_progress(file); }
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;
  ~Published() { core::publish_progress({}); }
};

// Records why an attempt ended, if possible. If the disk is the reason and recording fails, the original error must still be reported.
void record_end(RunDirectory& run, const StageTask& task, const Attempt& attempt, const std::string& event, const std::string& reason) {
  try {
    write_attempt(task.context.work, attempt);
    const nlohmann::json details = {{"key", task.key}, {"seconds", attempt.seconds}, {"reason", reason.substr(0, 1000)}};
    run.append_event(event, task.stage.name, details.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));  // any bytes may come
  } catch (const core::Error&) {
  }
}

void call_stage(RunDirectory& run, const StageTask& task, Attempt& attempt) {
  const auto begin = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const Published progress(progress_file(task.context.work));
  try {
    task.stage.run(task.context);
    attempt.seconds += elapsed();
  } catch (const std::exception& error) {
    attempt.seconds += elapsed();
    const bool interrupted = dynamic_cast<const core::Interrupted*>(&error) != nullptr;
    record_end(run, task, attempt, interrupted ? "interrupted" : "failed", error.what());
    throw;
  }
}

Manifest manifest_of(const StageTask& task, const Attempt& attempt) {
  Manifest manifest;
  manifest.stage = task.stage.name;
  manifest.key = task.key;
  manifest.material = task.material;
  manifest.inputs = task.inputs;
  manifest.outputs = collect_outputs(task.context.work, task.stage.scratch);
  manifest.versions = task.versions;
  manifest.threads = attempt.threads;
  manifest.attempts = attempt.attempts;
  manifest.seconds = attempt.seconds;
  manifest.started = attempt.started;
  manifest.finished = utc_now();
  return manifest;
}

// Turns a half-done folder with a manifest into the finished one.
void finish_commit(RunDirectory& run, const StageTask& task, const Manifest& manifest) {
  const std::string& name = task.stage.name;
  const fs::path& partial = task.context.work;
  const fs::path final_folder = run.committed_folder(name, task.key);
  remove_leftovers(partial, task.stage.scratch);
  remove_tree(final_folder);  // a folder here lacks this key's manifest, so it is not a result
  fail_point("commit.before_rename");
  core::commit_directory(partial, final_folder);
  core::sync_directory(run.root() / "stages");
  core::sync_directory(run.root());
  fail_point("commit.after_rename");
  run.set_current(name, task.key);
  fail_point("commit.after_current");
  const nlohmann::json details = {{"key", task.key}, {"seconds", manifest.seconds}, {"attempts", manifest.attempts}};
  run.append_event("committed", name, core::dump_json(details));
  run.prune_partials(name);
}

}  // namespace

fs::path progress_file(const fs::path& partial) {
  return partial / ".progress.json";
}

std::optional<Attempt> read_attempt(const fs::path& partial) {
  const fs::path path = partial / "attempt.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const nlohmann::json object = core::read_json_file(path);
  try {
    return Attempt{.key = object.at("key").get<std::string>(),
                   .device = object.at("device").get<std::string>(),
                   .threads = object.at("threads").get<int>(),
                   .versions = object.value("versions", std::map<std::string, std::string>()),  // older ones have none
                   .attempts = object.at("attempts").get<int>(),
                   .seconds = object.at("seconds").get<double>(),
                   .started = object.at("started").get<std::string>()};
  } catch (const nlohmann::json::exception& error) {
    throw core::DataError(path.string(), 0,
                          fmt::format("is damaged ({}); delete the folder {} to start this stage again", error.what(), partial.string()));
  }
}

void check_half_done_folder(const fs::path& partial) {
  std::error_code failed;
  if (!fs::exists(partial, failed)) return;
  const auto refuse = [&](const std::string& problem) {
    throw core::UsageError(
        fmt::format("{} {}, so it is no half-done work of keel; move it elsewhere or remove it", partial.string(), problem));
  };
  const bool begun = fs::exists(partial / "attempt.json", failed) || fs::exists(partial / "manifest.json", failed);
  for (const auto& entry : fs::recursive_directory_iterator(partial, failed)) {
    if (entry.is_symlink()) refuse(fmt::format("holds the link {}", entry.path().filename().string()));
    if (!begun && !entry.path().filename().string().starts_with('.'))
      refuse(fmt::format("holds {} but no attempt.json", entry.path().filename().string()));
  }
}

bool holds_checkpoint(const fs::path& partial) {
  std::error_code failed;
  const bool empty = fs::is_empty(partial / "ckpt", failed);
  return !failed && !empty;
}

std::optional<Attempt> binding_attempt(const fs::path& partial) {
  std::error_code ignored;
  if (!holds_checkpoint(partial) || fs::exists(partial / "manifest.json", ignored)) return std::nullopt;
  return read_attempt(partial);
}

void run_and_commit(RunDirectory& run, const StageTask& task) {
  const fs::path& partial = task.context.work;
  check_half_done_folder(partial);
  auto manifest = read_manifest(partial);
  if (manifest) {
    check_outputs(partial, *manifest, OutputCheck::digests);
  } else {
    Attempt attempt = begin_attempt(run, task);
    call_stage(run, task, attempt);
    fail_point("commit.begin");
    manifest = manifest_of(task, attempt);
    fail_point("commit.hashed");
    write_manifest(partial, *manifest);
    fail_point("commit.manifest");
  }
  finish_commit(run, task, *manifest);
}

}  // namespace keel::pipelines::run
