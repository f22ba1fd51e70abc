// Owner, lock, links and journal of a run directory.
#include "pipelines/run/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/system_error.h"
#include "pipelines/run/fail_point.h"
#include "pipelines/run/manifest.h"

namespace keel::pipelines::run {
namespace {

constexpr int kFormat = 3;  // of run.json and of what keys are made of

namespace fs = std::filesystem;
constexpr size_t kKeyDigits = 12;  // of a key, in folder names
constexpr const char* kTrash = ".trash-";

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code failed;
  for (auto entry = fs::directory_iterator(folder, failed); !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
    entries.push_back(entry->path());
  }
  if (failed) core::throw_system_error("read", folder, failed.value());
  return entries;
}

// Leftovers of a run that was killed before run.json existed: its lock and the temporary of run.json.
bool is_beginning(const fs::path& entry) {
  const std::string name = entry.filename().string();
  return name == "run.lock" || name.starts_with(".run.json");
}

// Removes a line that a kill or a full disk cut off; the next line would be appended to it.
void cut_torn_line(const fs::path& path) {
  std::error_code failed;
  if (!fs::exists(path, failed)) return;
  const std::string text = core::read_file(path);
  const size_t end = text.rfind('\n');
  const size_t keep = end == std::string::npos ? 0 : end + 1;
  if (keep != text.size()) fs::resize_file(path, keep, failed);
  if (failed) core::throw_system_error("write", path, failed.value());
}

}  // namespace

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

void remove_tree(const fs::path& path) {
  std::error_code failed;
  fs::remove_all(path, failed);
  if (failed) core::throw_system_error("delete", path, failed.value());
}

void discard(const fs::path& folder) {
  const fs::path trash = folder.parent_path() / (kTrash + folder.filename().string());
  remove_tree(trash);
  std::error_code failed;
  fs::rename(folder, trash, failed);
  if (failed) core::throw_system_error("delete", folder, failed.value());
  fail_point("prune.renamed");
  remove_tree(trash);
}

void replace_link(const fs::path& link, const fs::path& target) {
  const fs::path fresh = link.parent_path() / ("." + link.filename().string());
  std::error_code failed;
  if (fs::read_symlink(link, failed) == target && !failed) return;
  fs::remove(fresh, failed);
  if (!failed) fs::create_symlink(target, fresh, failed);
  if (!failed) fs::rename(fresh, link, failed);
  if (failed) core::throw_system_error("write", link, failed.value());
  core::sync_directory(link.parent_path());
}

std::optional<RunRecord> RunDirectory::record() const {
  std::error_code ignored;
  const fs::file_status status = fs::status(root_, ignored);
  if (!fs::exists(status)) return std::nullopt;
  if (!fs::is_directory(status)) {
    throw core::UsageError(fmt::format("{} is not a folder; choose another folder for the run", root_.string()));
  }
  const fs::path path = root_ / "run.json";
  if (!fs::exists(path, ignored)) {
    for (const auto& entry : entries_of(root_)) {
      if (entry.filename() == "run.json") return record();  // another process began the run just now
      if (!is_beginning(entry)) {
        throw core::UsageError(
            fmt::format("{} holds files ({}) but no run.json, so it is no run of keel; choose another or an empty folder", root_.string(),
                        entry.filename().string()));
      }
    }
    return std::nullopt;
  }
  const nlohmann::json object = core::read_json_file(path);
  if (object.is_object() && object.contains("recipe") && object.value("format", nlohmann::json()) != kFormat)
    throw core::UsageError(fmt::format(
        "{} is of a run of another version of keel, whose results cannot be gone on with (format {}, this keel has {}): its model "
        "folders can be used as they are, the recipe needs another folder",
        path.string(), object.contains("format") ? object.at("format").dump() : "1", kFormat));
  try {
    return RunRecord{object.at("recipe").get<std::string>(), object.at("keel").get<std::string>(),
                     core::dump_json(object.at("config")),   object.value("external", std::map<std::string, std::string>{}),
                     object.value("device", "cpu"),          object.value("precision", "fp32")};
  } catch (const nlohmann::json::exception& error) {
    throw core::UsageError(fmt::format("{} was not written by keel ({}); choose another folder for the run", path.string(), error.what()));
  }
}

void RunDirectory::check_recipe(const std::string& recipe) const {
  const auto found = record();
  if (!found) return check_outside_results(root_);
  if (found->recipe != recipe) {
    throw core::UsageError(fmt::format("{} holds a run of recipe '{}', not of '{}'; choose another folder for this recipe", root_.string(),
                                       found->recipe, recipe));
  }
}

void RunDirectory::begin(const RunRecord& record) {
  check_recipe(record.recipe);  // before anything is written into a foreign folder
  core::make_directories(root_);
  lock_ = std::make_unique<core::FileLock>(root_ / "run.lock");
  check_recipe(record.recipe);  // another process may have begun meanwhile
  const nlohmann::json object = {{"format", kFormat},
                                 {"recipe", record.recipe},
                                 {"keel", record.version},
                                 {"config", core::parse_json(record.config, "resolved recipe")},
                                 {"external", nlohmann::json(record.external)},
                                 {"device", record.device},
                                 {"precision", record.precision}};
  const std::string text = object.dump(2) + "\n";
  std::error_code ignored;
  const fs::path path = root_ / "run.json";
  if (!fs::exists(path, ignored) || core::read_file(path) != text) core::write_file(path, text);
  cut_torn_line(root_ / "events.jsonl");
}

bool RunDirectory::running() const {
  const int descriptor = ::open((root_ / "run.lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const bool free = ::flock(descriptor, LOCK_SH | LOCK_NB) == 0;
  ::close(descriptor);  // gives the shared lock back at once
  return !free;
}

fs::path RunDirectory::committed_folder(const std::string& stage, const std::string& key) const {
  return stage_folder(stage) / key.substr(0, kKeyDigits);
}

fs::path RunDirectory::partial_folder(const std::string& stage, const std::string& key) const {
  return stage_folder(stage) / (key.substr(0, kKeyDigits) + ".partial");
}

std::optional<fs::path> RunDirectory::current(const std::string& stage) const {
  std::error_code failed;
  const fs::path target = fs::read_symlink(stage_folder(stage) / "current", failed);
  if (failed) return std::nullopt;
  const fs::path folder = stage_folder(stage) / target;
  if (!fs::exists(folder / "manifest.json", failed)) return std::nullopt;
  return folder;
}

void RunDirectory::set_current(const std::string& stage, const std::string& key) {
  replace_link(stage_folder(stage) / "current", committed_folder(stage, key).filename());
}

void RunDirectory::prune_partials(const std::string& stage) {
  remove_trash(stage);
  for (const auto& entry : entries_of(stage_folder(stage)))
    if (entry.extension() == ".partial") discard(entry);
}

void RunDirectory::remove_trash(const std::string& stage) {
  for (const auto& entry : entries_of(stage_folder(stage)))
    if (entry.filename().string().starts_with(kTrash)) remove_tree(entry);
}

void RunDirectory::append_event(const std::string& event, const std::string& stage, const std::string& details) {
  nlohmann::json row = core::parse_json(details, "event");
  row.update({{"time", utc_now()}, {"event", event}, {"stage", stage}});
  const std::string line = core::dump_json(row) + "\n";
  const fs::path path = root_ / "events.jsonl";
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) core::throw_system_error("write", path, errno);
  try {
    core::write_fully(descriptor, line, path);
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
}

}  // namespace keel::pipelines::run
