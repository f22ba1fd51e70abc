// Key materials are JSON objects: written with sorted keys for the digest, compared leaf by leaf for people.
#include "pipelines/run/stage_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/config.h"
#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace keel::pipelines::run {
namespace {

bool is_folder_name(const std::string& name) {
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  return !name.empty() && std::all_of(name.begin(), name.end(), fits);
}

std::string shown(const nlohmann::json& value) {
  const std::string text = core::dump_json(value);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

// Leaves of two values that differ, as "path: before -> now".
void compare(const std::string& path, const nlohmann::json& before, const nlohmann::json& now, std::vector<std::string>& lines) {
  if (before == now) return;
  if (!before.is_object() || !now.is_object()) {
    lines.push_back(fmt::format("{}: {} -> {}", path, shown(before), shown(now)));
    return;
  }
  std::set<std::string> names;
  for (const auto& item : before.items())
    names.insert(item.key());
  for (const auto& item : now.items())
    names.insert(item.key());
  for (const auto& name : names) {
    const std::string inner = path + "." + name;
    if (!before.contains(name)) {
      lines.push_back(fmt::format("{}: absent -> {}", inner, shown(now[name])));
    } else if (!now.contains(name)) {
      lines.push_back(fmt::format("{}: {} -> absent", inner, shown(before[name])));
    } else {
      compare(inner, before[name], now[name], lines);
    }
  }
}

std::string short_digest(const nlohmann::json& digest) {
  return digest.is_string() ? digest.get<std::string>().substr(0, 12) : "unknown";
}

// Inputs and external files: of their digests a reader only needs to know "changed".
void compare_digests(const std::string& kind, const nlohmann::json& before, const nlohmann::json& now, std::vector<std::string>& lines) {
  for (const auto& [name, digest] : now.items()) {
    if (!before.contains(name)) {
      lines.push_back(fmt::format("{} {} is new", kind, name));
    } else if (digest.is_null()) {
      lines.push_back(fmt::format("{} {} is not known yet: that stage has to run first", kind, name));
    } else if (before[name] != digest) {
      lines.push_back(fmt::format("{} {} changed ({} -> {})", kind, name, short_digest(before[name]), short_digest(digest)));
    }
  }
  for (const auto& [name, digest] : before.items()) {
    if (!now.contains(name)) lines.push_back(fmt::format("{} {} is no longer used", kind, name));
  }
}

}  // namespace

void check_graph(const std::vector<Stage>& stages) {
  std::vector<std::string> problems;
  std::set<std::string> earlier;
  for (const auto& stage : stages) {
    if (!is_folder_name(stage.name)) {
      problems.push_back(fmt::format("stage name '{}' must be lower-case letters, digits, '_' and '-': it names a folder", stage.name));
    }
    for (const auto& input : stage.inputs) {
      if (!earlier.contains(input)) {
        problems.push_back(fmt::format("stage '{}' reads '{}', which must be the name of a stage that comes before it", stage.name, input));
      }
    }
    if (!earlier.insert(stage.name).second) problems.push_back(fmt::format("two stages are called '{}'; names must differ", stage.name));
    if (!stage.run) problems.push_back(fmt::format("stage '{}' has no code to run", stage.name));
    try {
      core::parse_json(stage.config, fmt::format("config of stage '{}'", stage.name));
    } catch (const core::DataError& error) {
      problems.emplace_back(error.what());
    }
  }
  core::throw_if_any(std::move(problems));
}

size_t find_stage(const std::vector<Stage>& stages, const std::string& name, const std::string& option) {
  std::vector<std::string> names;
  for (const auto& stage : stages) {
    if (stage.name == name) return names.size();
    names.push_back(stage.name);
  }
  const std::string near = core::nearest_name(name, names);
  throw core::UsageError(fmt::format("{}: no stage is called '{}'{}; the stages are {}", option, name,
                                     near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near), fmt::join(names, ", ")));
}

nlohmann::json key_material(const Stage& stage, const Numerics& numerics, uint64_t seed,
                            const std::map<std::string, std::string>& input_digests) {
  nlohmann::json inputs = nlohmann::json::object();
  for (const auto& input : stage.inputs) {
    const auto digest = input_digests.find(input);
    inputs[input] = digest == input_digests.end() ? nlohmann::json() : nlohmann::json(digest->second);
  }
  return {{"stage", stage.name},
          {"schema_version", stage.schema_version},
          {"config", core::parse_json(stage.config, fmt::format("config of stage '{}'", stage.name))},
          {"seed", seed},
          {"numerics", {{"device", numerics.device}, {"dtype", numerics.dtype}, {"deterministic", numerics.deterministic}}},
          {"inputs", std::move(inputs)},
          {"roles", stage.roles},
          {"external", stage.external.empty() ? nlohmann::json::object() : nlohmann::json(stage.external)}};
}

std::string key_of(const nlohmann::json& material) {
  return core::sha256(core::dump_json(material));
}

std::vector<std::string> key_differences(const nlohmann::json& before, const nlohmann::json& now) {
  std::vector<std::string> lines;
  for (const auto& [part, value] : now.items()) {
    const nlohmann::json old = before.value(part, nlohmann::json());
    if (part == "inputs" || part == "external") {
      compare_digests(part == "inputs" ? "input" : "external", old.is_object() ? old : nlohmann::json::object(), value, lines);
    } else {
      compare(part, old, value, lines);
    }
  }
  return lines;
}

}  // namespace keel::pipelines::run
