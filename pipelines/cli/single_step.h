// One step of the recipe outside of a run: works in DIR.partial, which a later call of the same command goes on in, and ends as DIR, with a
// manifest.json that tells settings, seed and the digests of the inputs.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "pipelines/cli/commands.h"

namespace keel::pipelines::cli {

struct SingleStep {
  std::string name;
  std::filesystem::path out;
  nlohmann::json config;                                // everything that decides the result besides seed and inputs
  std::map<std::string, std::filesystem::path> files;   // input files by role; empty paths are left out
  std::map<std::string, std::filesystem::path> models;  // input model folders by role; empty paths are left out
};

// Throws UsageError when DIR is there and not empty, or DIR.partial holds half-done work of another command or thread count.
void run_single_step(const SingleStep& step, const Invocation& invocation,
                     const std::function<void(const std::filesystem::path& work)>& work);

}  // namespace keel::pipelines::cli
