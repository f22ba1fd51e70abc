#include "pipelines/stages/graph.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/files.h"

// The recipe in order. A line is a folder, a file in it and the file's function add_NAME(), which adds one stage, several or, if the
// recipe has none, nothing. `once` is called once, `each` for every version.
// clang-format off
#define KEEL_FIRST_STAGES(once)     \
  once(collection, sandbox_data)    \
  once(collection, file_data)       \
  once(stages, base)                \
  once(stages, sft)
#define KEEL_VERSION_STAGES(each)   \
  each(collection, sandbox_prompts) \
  each(collection, file_prompts)    \
  each(collection, comparisons)     \
  each(collection, preferences)     \
  each(stages, reward)              \
  each(stages, rejection)           \
  each(stages, ppo)
#define KEEL_LAST_STAGES(once)      \
  once(stages, evaluation)          \
  once(stages, best_of)             \
  once(stages, report)
// clang-format on

namespace keel::pipelines {

#define KEEL_DECLARE_ONCE(folder, name) \
  namespace folder {                    \
  void add_##name(steps::Plan& plan);   \
  }
#define KEEL_DECLARE_EACH(folder, name)                               \
  namespace folder {                                                  \
  void add_##name(steps::Plan& plan, const recipe::Version& version); \
  }
KEEL_FIRST_STAGES(KEEL_DECLARE_ONCE)
KEEL_VERSION_STAGES(KEEL_DECLARE_EACH)
KEEL_LAST_STAGES(KEEL_DECLARE_ONCE)

namespace stages {

std::vector<run::Stage> build_stages(const recipe::Recipe& recipe, const std::map<std::string, std::string>& external) {
  steps::Plan plan{.recipe = recipe, .versions = recipe::versions_of(recipe), .digests = external, .stages = {}};
#define KEEL_ADD_ONCE(folder, name) folder::add_##name(plan);
#define KEEL_ADD_EACH(folder, name) folder::add_##name(plan, version);
  KEEL_FIRST_STAGES(KEEL_ADD_ONCE)
  for (const recipe::Version& version : plan.versions) {
    KEEL_VERSION_STAGES(KEEL_ADD_EACH)
  }
  KEEL_LAST_STAGES(KEEL_ADD_ONCE)
  return plan.stages;
}

namespace {

using Digests = std::map<std::string, std::string>;

std::vector<std::pair<std::string, steps::fs::path>> external_files(const recipe::Recipe& recipe) {
  if (recipe::from_sandbox(recipe)) return {};
  return {{"model", recipe.model}, {"data.helpful", recipe.data.helpful}, {"data.harmless", recipe.data.harmless}};
}

[[noreturn]] void refuse_missing(const std::string& role, const steps::fs::path& path) {
  throw core::UsageError(fmt::format("{}: {} does not exist", role, path.string()));
}

}  // namespace

void check_external_files(const recipe::Recipe& recipe) {
  for (const auto& [role, path] : external_files(recipe))
    if (!steps::fs::exists(path)) refuse_missing(role, path);
}

std::map<std::string, std::string> external_digests(const recipe::Recipe& recipe, core::DigestCache& known, const Digests& recorded) {
  Digests digests;
  for (const auto& [role, path] : external_files(recipe)) {
    if (steps::fs::exists(path))
      digests[role] = steps::digest_of(path, known);
    else if (recorded.contains(role))
      digests[role] = recorded.at(role);
    else
      refuse_missing(role, path);
  }
  if (recipe.preferences.annotator == recipe::Annotator::people)
    for (const auto& version : recipe::versions_of(recipe)) {
      if (version.comparisons.empty()) continue;
      const std::string role = steps::people_role(version);
      if (const auto file = steps::people_file(recipe, version); steps::fs::exists(file))
        digests[role] = known.sha256(file);
      else if (recorded.contains(role))
        digests[role] = recorded.at(role);
    }
  return digests;
}

Digests people_digests(Digests recorded) {
  std::erase_if(recorded, [](const auto& entry) { return !entry.first.starts_with(steps::kPeople); });
  return recorded;
}

void refuse_validate_every(const policy::BatchConfig& batch, const std::string& section) {
  if (batch.validate_every != 0)
    throw core::ConfigError(
        {section + "batch.validate_every: nothing reads it without held-out rows; give --validation FILE, or leave it out"});
}

}  // namespace stages

}  // namespace keel::pipelines
