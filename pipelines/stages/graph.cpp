#include "pipelines/stages/graph.h"

// The recipe in order. A line is a folder, a file in it and the file's function add_NAME(), which adds one stage, several or, if the
// recipe has none, nothing. `once` is called once, `each` for every version.
// clang-format off
#define KEEL_FIRST_STAGES(once)     \
  once(collection, sandbox_corpus)  \
  once(collection, sandbox_data)    \
  once(collection, file_data)       \
  once(collection, sandbox_dialogues) \
  once(collection, sandbox_preprompts) \
  once(stages, base)                \
  once(stages, sft)
#define KEEL_VERSION_STAGES(each)   \
  each(collection, sandbox_prompts) \
  each(collection, file_prompts)    \
  each(collection, comparisons)     \
  each(collection, preferences)     \
  each(stages, reward)              \
  each(stages, gatt)                \
  each(stages, distill)             \
  each(stages, rejection)           \
  each(stages, ppo)
#define KEEL_LAST_STAGES(once)      \
  once(measurement, evaluation)      \
  once(measurement, best_of)         \
  once(measurement, gatt_evaluation) \
  once(measurement, report)
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

}  // namespace stages

}  // namespace keel::pipelines
