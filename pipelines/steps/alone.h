// One step outside of a run: works in DIR.partial, which a later call of the same command goes on in, and ends as DIR, with a manifest.json
// that tells settings, seed and the digests of the inputs.
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

// Throws UsageError when DIR is there and not empty, cannot be renamed into, or DIR.partial holds half-done work of another command or
// thread count.
void run_alone(const Step& step, const Alone& how);

}  // namespace keel::pipelines::steps
