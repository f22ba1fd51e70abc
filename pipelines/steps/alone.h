// One step outside a run. It works in DIR.partial, where a later call of the same command continues, and renames it to DIR at the end, with
// a manifest.json of settings, seed and input digests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "pipelines/steps/step.h"

namespace keel::pipelines::steps {

struct Alone {
  std::filesystem::path out;  // DIR
  uint64_t seed = 1;
  int threads = 0;  // 0 = all cores
  std::string device = "cpu";
};

// Throws UsageError when DIR is not empty or cannot be replaced by a rename, or DIR.partial holds half-done work of another command or
// thread count.
void run_alone(const Step& step, const Alone& how);

}  // namespace keel::pipelines::steps
