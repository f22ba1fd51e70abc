#include "pipelines/steps/alone.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/log.h"
#include "pipelines/run/attempt.h"
#include "pipelines/run/fail_point.h"
#include "pipelines/run/manifest.h"
#include "pipelines/run/run_directory.h"
#include "pipelines/steps/ranks.h"
#include "runtime/device.h"
#include "runtime/dist/ranks.h"

namespace keel::pipelines::steps {
namespace {

// The identity of this work: its settings and the contents of its inputs, not their paths.
nlohmann::json identity(const Step& step, const Alone& how) {
  nlohmann::json inputs = nlohmann::json::object();
  std::map<std::string, int> seen;
  core::DigestCache digests;
  for (const auto& [role, source] : step.inputs) {
    const int number = seen[role]++;
    inputs[number == 0 ? role : fmt::format("{}.{}", role, number)] = digest_of(source.path, digests);
  }
  return {{"stage", step.name},
          {"schema_version", step.schema_version},
          {"config", core::parse_json(step.settings, step.name)},
          {"external", inputs},
          {"seed", how.seed},
          {"numerics", {{"device", how.device}, {"dtype", how.precision}}}};
}

// Whether there are half-done results, i.e. files other than those of this code.
bool holds_work(const fs::path& partial) {
  return std::any_of(fs::directory_iterator(partial), fs::directory_iterator(), [](const auto& entry) {
    const std::string name = entry.path().filename();
    return name != "attempt.json" && !name.starts_with('.');
  });
}

// Removes leftovers of another command's attempt that cannot be continued, so that none passes for an output of this one. The record stays
// until this attempt replaces it, because a folder without a record does not count as keel's.
void empty_folder(const fs::path& partial, const fs::path& record) {
  for (const auto& entry : fs::directory_iterator(partial))
    if (entry.path().filename() != ".lock" && entry.path() != record) run::remove_tree(entry.path());
}

// The records last, so that a folder that a kill leaves is still known as finished.
void remove_partial(const fs::path& partial) {
  for (const char* keep : {"manifest.json", ""})
    for (const auto& entry : fs::directory_iterator(partial))
      if (entry.path().filename() != keep && entry.path().filename() != "attempt.json") run::remove_tree(entry.path());
  run::remove_tree(partial);
}

// The place of a single file; UsageError where it cannot be one, before any work.
fs::path output_file(const fs::path& path) {
  if (fs::exists(path) && !fs::is_regular_file(path))
    throw core::UsageError(fmt::format("{} is there already and no file; name another", path.string()));
  const fs::path target = fs::absolute(path);
  if (!fs::is_directory(target.parent_path()))
    throw core::UsageError(fmt::format("{}: there is no folder {}", path.string(), target.parent_path().string()));
  return target;
}

// The step with its inputs as the command line named them, as something that ranks can compute together.
run::Stage outside_run(const Step& step, const nlohmann::json& identity) {
  run::Stage stage;
  stage.name = step.name, stage.config = step.settings, stage.together = step.together;
  stage.external = identity.at("external").get<std::map<std::string, std::string>>();
  stage.run = [step](const run::StageContext& context) {
    std::vector<std::pair<std::string, fs::path>> inputs;
    for (const auto& [role, source] : step.inputs)
      inputs.emplace_back(role, source.path);
    step.run(Context(context.work, context.seed, std::move(inputs)));
  };
  return stage;
}

}  // namespace

void run_alone(const Step& step, const Alone& how) {
  if (!runtime::dist::first()) return follow({outside_run(step, identity(step, how))});
  const fs::path target = how.file.empty() ? core::output_folder(how.out) : output_file(how.out);
  run::check_outside_results(how.out);
  fs::path partial = target;
  partial += ".partial";
  const nlohmann::json material = identity(step, how);
  const run::Stage stage = led(outside_run(step, material));
  const std::string started = run::utc_now();
  const auto begin = std::chrono::steady_clock::now();
  const int threads = runtime::configure_process(how.threads);
  nlohmann::json attempt = material;  // the conditions for continuing a checkpoint
  attempt.update({{"threads", threads}, {"versions", runtime::program_versions()}});

  run::check_half_done_folder(partial);
  core::make_directories(partial);
  const core::FileLock lock(partial / ".lock");
  const fs::path record = partial / "attempt.json";
  const std::string key = core::sha256(core::dump_json(material));
  const auto finished = run::read_manifest(partial);
  bool uncommitted = finished && finished->key == key;                        // all is done but the commit
  if (uncommitted && !how.file.empty() && !fs::exists(partial / how.file)) {  // a kill came between the commit and what follows it
    if (!fs::exists(target))
      throw core::UsageError(fmt::format("{} held a finished result, which is gone: remove it to start over", partial.string()));
    remove_partial(partial);
    return core::log_info(fmt::format("{} is finished", target.string()));
  }
  if (!uncommitted) {
    const nlohmann::json begun = finished             ? core::parse_json(finished->material, partial / "manifest.json")
                                 : fs::exists(record) ? core::parse_json(core::read_file(record), record)
                                                      : attempt;
    if (begun != attempt) {
      if (finished || run::holds_checkpoint(partial))
        throw core::UsageError(fmt::format(
            "{} holds half-done work of another command, program or machine ({}): remove it to start over, or go on with what began it",
            partial.string(), fmt::join(run::key_differences(begun, finished ? material : attempt), "; ")));
      empty_folder(partial, record);
    }
    core::write_file(record, core::dump_json(attempt) + "\n");
    try {
      stage.run({.work = partial, .inputs = {}, .seed = how.seed, .threads = threads});
    } catch (...) {  // refused input leaves nothing behind
      std::error_code ignored;
      if (!holds_work(partial)) fs::remove_all(partial, ignored);
      throw;
    }
    run::Manifest manifest;
    manifest.stage = step.name;
    manifest.key = key;
    manifest.material = core::dump_json(material);
    manifest.outputs = run::collect_outputs(partial, {"ckpt"});
    manifest.versions = runtime::program_versions();
    manifest.threads = threads;
    manifest.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    manifest.started = started;
    manifest.finished = run::utc_now();
    run::write_manifest(partial, manifest);
  }
  run::remove_leftovers(partial, {"ckpt"});
  if (how.file.empty()) {
    if (fs::exists(target)) fs::remove(target);
    core::commit_directory(partial, target);
  } else {
    core::commit_file(partial / how.file, target);
    run::fail_point("commit.after_rename");
    remove_partial(partial);
  }
  core::log_info(fmt::format("wrote {}", target.string()));
}

}  // namespace keel::pipelines::steps
