// One step outside a run. It works in DIR.partial, where a later call of the same command continues, and renames it to DIR at the end, with
// a manifest.json of settings, seed and input digests. Of some steps one file alone is the result: it works in FILE.partial, and what is
// left at the end is FILE. Where several ranks run, all compute it if the step says so, and the first writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "pipelines/steps/step.h"

namespace keel::pipelines::steps {

struct Alone {
  std::filesystem::path out;  // DIR, or FILE
  std::string file = {};      // the step's output that becomes FILE; empty: DIR
  uint64_t seed = 1;
  int threads = 0;  // 0 = all cores
  std::string device = "cpu", precision = "fp32";
};

// Throws UsageError when DIR is not empty or cannot be replaced by a rename, or DIR.partial holds half-done work of another command or
// thread count.
void run_alone(const Step& step, const Alone& how);

}  // namespace keel::pipelines::steps
