// The folder of a run: its lock, its layout and its journal.
//
//   run.json, run.lock, events.jsonl
//   digests.json                       SHA-256 of files outside the folder, so that only the first command has to read them
//   stages/<stage>/<key12>/            a finished stage with its manifest.json
//   stages/<stage>/<key12>.partial/    a half-done one with its attempt.json
//   stages/<stage>/current             link to the finished folder that the newest run used
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/files.h"

namespace keel::pipelines::run {

// run.json
struct RunRecord {
  std::string recipe;                                // name of the recipe: a folder belongs to one
  std::string version;                               // of keel
  std::string config = "{}";                         // JSON text of the resolved recipe
  std::map<std::string, std::string> external = {};  // SHA-256 of inputs outside the folder, by role
  std::string device = "cpu", precision = "fp32";    // what it is computed with
};

std::string utc_now();  // "2024-05-01T12:34:56Z"

class RunDirectory {
 public:
  // Looks only; nothing is created before begin().
  explicit RunDirectory(std::filesystem::path root) : root_(std::move(root)) {}

  // run.json; nothing when the folder is missing or empty, so that a run may begin in it. Throws UsageError for a file, or a folder
  // with other things in it.
  std::optional<RunRecord> record() const;

  // Throws UsageError where begin() would refuse `recipe`; creates nothing.
  void check_recipe(const std::string& recipe) const;

  // Creates the folder, locks it until this object ends, writes run.json. Throws UsageError (as record(); a run of another recipe),
  // LockedError, IoError.
  void begin(const RunRecord& record);

  bool running() const;  // another process, or this one, holds the lock

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path digest_file() const { return root_ / "digests.json"; }  // of core::DigestCache
  std::filesystem::path stage_folder(const std::string& stage) const { return root_ / "stages" / stage; }
  std::filesystem::path committed_folder(const std::string& stage, const std::string& key) const;
  std::filesystem::path partial_folder(const std::string& stage, const std::string& key) const;

  // The finished folder that the newest run used for `stage`: what reports and other commands read.
  std::optional<std::filesystem::path> current(const std::string& stage) const;
  void set_current(const std::string& stage, const std::string& key);  // atomically

  // Deletes the half-done attempts of `stage`, which a newer commit made obsolete.
  void prune_partials(const std::string& stage);
  void remove_trash(const std::string& stage);  // leftovers of a killed deletion

  // Appends {"time", "event", "stage", ...} to events.jsonl; `details` is the text of a JSON object.
  void append_event(const std::string& event, const std::string& stage, const std::string& details);

 private:
  std::filesystem::path root_;
  std::unique_ptr<core::FileLock> lock_;
};

// Makes `link` point to `target`, atomically. IoError.
void replace_link(const std::filesystem::path& link, const std::filesystem::path& target);

void remove_tree(const std::filesystem::path& path);  // IoError; nothing happens when it is missing

// The same for a stage's result or attempt. It is renamed to .trash-* first, so that a kill leaves no half of it under its name.
void discard(const std::filesystem::path& folder);

}  // namespace keel::pipelines::run
