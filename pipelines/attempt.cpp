// The half-done folder's life: begun, continued, hashed, renamed.
#include "pipelines/attempt.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "core/system_error.h"
#include "pipelines/fail_point.h"

namespace keel::pipelines {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

void write_attempt(const fs::path& partial, const Attempt& attempt) {
  const nlohmann::json object = {{"key", attempt.key},           {"device", attempt.device},   {"threads", attempt.threads},
                                 {"attempts", attempt.attempts}, {"seconds", attempt.seconds}, {"started", attempt.started}};
  core::write_file(partial / "attempt.json", object.dump(2) + "\n");
}

// Creates or continues the half-done folder.
Attempt begin_attempt(RunDirectory& run, const StageTask& task) {
  const fs::path& partial = task.context.work;
  auto earlier = read_attempt(partial);
  Attempt attempt = earlier.value_or(Attempt{task.key, task.device, 0, 0, 0, utc_now()});
  ++attempt.attempts;
  attempt.threads = task.context.threads;
  core::make_directories(partial);
  write_attempt(partial, attempt);
  const nlohmann::json details = {{"key", task.key}, {"threads", attempt.threads}, {"attempt", attempt.attempts}};
  run.append_event(earlier ? "resumed" : "started", task.stage.name, details.dump());
  fail_point("stage.started");
  return attempt;
}

// Writes down why an attempt ended, as far as that is possible: the disk may be the very reason, and then the error itself must get out.
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

// What collect_outputs() left out.
void remove_leftovers(const fs::path& partial, const std::vector<std::string>& scratch) {
  std::vector<fs::path> doomed = {partial / "attempt.json"};
  for (const auto& name : scratch)
    doomed.push_back(partial / name);
  std::error_code failed;
  for (auto entry = fs::recursive_directory_iterator(partial, failed); !failed && entry != fs::recursive_directory_iterator();
       entry.increment(failed)) {
    if (!entry->path().filename().string().starts_with('.')) continue;
    entry.disable_recursion_pending();
    doomed.push_back(entry->path());
  }
  if (failed) core::throw_system_error("read", partial, failed.value());
  for (const auto& path : doomed)
    remove_tree(path);
}

// From a half-done folder with a manifest to the finished one.
void finish_commit(RunDirectory& run, const StageTask& task, const Manifest& manifest) {
  const std::string& name = task.stage.name;
  const fs::path& partial = task.context.work;
  const fs::path final_folder = run.committed_folder(name, task.key);
  remove_leftovers(partial, task.stage.scratch);
  remove_tree(final_folder);  // only a folder without this key's manifest can be there: no result
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

std::optional<Attempt> read_attempt(const fs::path& partial) {
  const fs::path path = partial / "attempt.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const nlohmann::json object = core::read_json_file(path);
  try {
    return Attempt{object.at("key").get<std::string>(), object.at("device").get<std::string>(), object.at("threads").get<int>(),
                   object.at("attempts").get<int>(),    object.at("seconds").get<double>(),     object.at("started").get<std::string>()};
  } catch (const nlohmann::json::exception& error) {
    throw core::DataError(path.string(), 0,
                          fmt::format("is damaged ({}); delete the folder {} to start this stage again", error.what(), partial.string()));
  }
}

std::optional<int> insisted_threads(const fs::path& partial) {
  std::error_code ignored;
  const auto attempt = read_attempt(partial);
  if (!attempt || fs::exists(partial / "manifest.json", ignored)) return std::nullopt;
  for (auto entry = fs::directory_iterator(partial, ignored); entry != fs::directory_iterator(); entry.increment(ignored)) {
    const std::string name = entry->path().filename().string();
    if (name != "attempt.json" && !name.starts_with('.')) return attempt->threads;
  }
  return std::nullopt;
}

void run_and_commit(RunDirectory& run, const StageTask& task) {
  const fs::path& partial = task.context.work;
  auto manifest = read_manifest(partial);
  if (manifest) {
    check_outputs(partial, *manifest, true);
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

}  // namespace keel::pipelines
