// The summary of a run as text.
#pragma once

#include <filesystem>
#include <string>

namespace keel::pipelines {

// The table of models and the reward models' accuracies of a summary.json.
std::string summary_text(const std::filesystem::path& summary);

}  // namespace keel::pipelines
