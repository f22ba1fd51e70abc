// The last stage of a run: summary.json for programs, report.html for people, and the summary as text.
#pragma once

#include <filesystem>
#include <string>

#include "pipelines/recipe/recipe.h"
#include "pipelines/report/results.h"

namespace keel::pipelines::report {

// Writes both into `work`.
void write_run_report(const recipe::Recipe& recipe, const Folders& folders, const std::filesystem::path& work);

// The table of models and the reward models' accuracies of a summary.json.
std::string summary_text(const std::filesystem::path& summary);

}  // namespace keel::pipelines::report
