// manifest.json in and out, and the digests of what it lists.
#include "pipelines/run/manifest.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"
#include "core/system_error.h"
#include "pipelines/run/run_directory.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
// The stage's own code wrote the files and may not have synced them.
void sync_file(const fs::path& path) {
  const core::ReadDescriptor file(path);
  if (::fsync(file.number) != 0) core::throw_system_error("write", path, errno);
}

bool is_output(const std::string& relative, const std::vector<std::string>& scratch) {
  return relative != "manifest.json" && relative != "attempt.json" && !fs::path(relative).filename().string().starts_with('.') &&
         std::find(scratch.begin(), scratch.end(), relative) == scratch.end();
}

bool tells_the_time(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  return name.starts_with("events.out.tfevents.") || name.ends_with(".log") || name == "timings.json" || name == "timings.jsonl";
}

Manifest manifest_from(const nlohmann::json& object) {
  Manifest manifest;
  object.at("stage").get_to(manifest.stage);
  object.at("key").get_to(manifest.key);
  manifest.material = core::dump_json(object.at("material").get_ref<const nlohmann::json::object_t&>());
  if (core::sha256(manifest.material) != manifest.key) throw core::DataError("\"material\"", 0, "does not belong to \"key\"");
  for (const auto& [name, input] : object.at("inputs").items()) {
    manifest.inputs[name] = {input.at("key").get<std::string>(), input.at("digest").get<std::string>()};
  }
  for (const auto& output : object.at("outputs")) {
    manifest.outputs.push_back(
        {output.at("path").get<std::string>(), output.at("bytes").get<int64_t>(), output.at("sha256").get<std::string>()});
  }
  object.at("versions").get_to(manifest.versions);
  object.at("threads").get_to(manifest.threads);
  object.at("attempts").get_to(manifest.attempts);
  object.at("seconds").get_to(manifest.seconds);
  object.at("started").get_to(manifest.started);
  object.at("finished").get_to(manifest.finished);
  return manifest;
}

}  // namespace

std::vector<OutputFile> collect_outputs(const fs::path& folder, const std::vector<std::string>& scratch) {
  std::vector<OutputFile> outputs;
  try {
    for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator(); ++entry) {
      const std::string relative = entry->path().lexically_relative(folder).generic_string();
      const fs::file_status status = entry->symlink_status();
      if (!is_output(relative, scratch)) {
        entry.disable_recursion_pending();
      } else if (fs::is_directory(status)) {
        core::sync_directory(entry->path());
      } else if (fs::is_regular_file(status)) {
        sync_file(entry->path());
        outputs.push_back({relative, static_cast<int64_t>(entry->file_size()), core::sha256_file(entry->path())});
      } else {
        throw core::Error(core::Exit::internal, entry->path().string() + ": an output must be a file or a folder, not a link or device");
      }
    }
  } catch (const fs::filesystem_error& error) {
    core::throw_system_error("read", folder, error.code().value());
  }
  std::sort(outputs.begin(), outputs.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return outputs;
}

void remove_leftovers(const fs::path& folder, const std::vector<std::string>& scratch) {
  std::vector<fs::path> doomed;
  for (const auto& name : scratch)
    doomed.push_back(folder / name);
  std::error_code failed;
  for (auto entry = fs::recursive_directory_iterator(folder, failed); !failed && entry != fs::recursive_directory_iterator();
       entry.increment(failed)) {
    if (!entry->path().filename().string().starts_with('.')) continue;
    entry.disable_recursion_pending();
    doomed.push_back(entry->path());
  }
  if (failed) core::throw_system_error("read", folder, failed.value());
  doomed.push_back(folder / "attempt.json");  // last: it says whose checkpoint the folder holds
  for (const auto& path : doomed)
    remove_tree(path);
}

std::string content_digest(const std::vector<OutputFile>& outputs) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& output : outputs) {
    if (!tells_the_time(output.path)) list.push_back({output.path, output.sha256});
  }
  return core::sha256(core::dump_json(list));
}

void write_manifest(const fs::path& folder, const Manifest& manifest) {
  nlohmann::json inputs = nlohmann::json::object();
  for (const auto& [name, input] : manifest.inputs)
    inputs[name] = {{"key", input.key}, {"digest", input.digest}};
  nlohmann::json outputs = nlohmann::json::array();
  for (const auto& output : manifest.outputs) {
    outputs.push_back({{"path", output.path}, {"bytes", output.bytes}, {"sha256", output.sha256}});
  }
  const nlohmann::json object = {{"stage", manifest.stage},
                                 {"key", manifest.key},
                                 {"material", core::parse_json(manifest.material, "key material")},
                                 {"inputs", std::move(inputs)},
                                 {"outputs", std::move(outputs)},
                                 {"versions", manifest.versions.empty() ? nlohmann::json::object() : nlohmann::json(manifest.versions)},
                                 {"threads", manifest.threads},
                                 {"attempts", manifest.attempts},
                                 {"seconds", manifest.seconds},
                                 {"started", manifest.started},
                                 {"finished", manifest.finished}};
  core::write_file(folder / "manifest.json", object.dump(2) + "\n");
}

std::optional<Manifest> read_manifest(const fs::path& folder) {
  const fs::path path = folder / "manifest.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  const std::string text = core::read_file(path);
  const std::string remedy = fmt::format("; delete the folder {} to compute this stage again", folder.string());
  try {
    return manifest_from(core::parse_json(text, path.string()));
  } catch (const nlohmann::json::exception& error) {
    throw core::DataError(path.string(), 0, fmt::format("is no manifest of keel: {}{}", error.what(), remedy));
  } catch (const core::DataError& error) {
    throw core::DataError(path.string(), 0, fmt::format("is damaged: {}{}", error.what(), remedy));
  }
}

void check_outside_results(const fs::path& path) {
  const auto is_result = [](const fs::path& folder) {
    try {
      return read_manifest(folder).has_value();
    } catch (const core::Error&) {
      return false;  // a manifest.json of another program
    }
  };
  std::error_code unknown;
  const fs::path place = fs::weakly_canonical(fs::absolute(path, unknown), unknown);
  for (fs::path folder = place; !unknown && folder.has_relative_path(); folder = folder.parent_path())
    if (is_result(folder))
      throw core::UsageError(
          fmt::format("{} lies in the finished result {}, which nothing may change; name another place", path.string(), folder.string()));
}

void check_outputs(const fs::path& folder, const Manifest& manifest, OutputCheck check) {
  const auto refuse = [&](const fs::path& path, const std::string& problem) {
    throw core::DataError(
        path.string(), 0,
        fmt::format("{}; restore it, or delete the folder {} to compute stage '{}' again", problem, folder.string(), manifest.stage));
  };
  std::error_code unknown;
  const fs::file_time_type finished = fs::last_write_time(folder / "manifest.json", unknown);
  for (const auto& output : manifest.outputs) {
    const fs::path path = folder / output.path;
    std::error_code failed;
    const auto bytes = fs::file_size(path, failed);
    if (failed) refuse(path, fmt::format("an output of a finished stage cannot be read ({})", failed.message()));
    if (static_cast<int64_t>(bytes) != output.bytes) {
      refuse(path, fmt::format("an output of a finished stage had {} bytes and now has {}", output.bytes, bytes));
    }
    if (check == OutputCheck::sizes) continue;
    const bool touched = unknown || fs::last_write_time(path, failed) > finished || failed;
    if ((check == OutputCheck::digests || touched) && core::sha256_file(path) != output.sha256) {
      refuse(path, "an output of a finished stage has changed: its SHA-256 is no longer that of the manifest");
    }
  }
}

}  // namespace keel::pipelines::run
