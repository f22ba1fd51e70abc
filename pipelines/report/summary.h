// The last stage of a run: summary.json for programs, report.html for people, and the summary as text.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pipelines/recipe/recipe.h"
#include "pipelines/run/stage_graph.h"

namespace keel::pipelines::report {

// Writes both into context.work, from what `stages`, all before it in order, have left.
void write_run_report(const recipe::Recipe& recipe, const std::vector<run::Stage>& stages, const run::StageContext& context);

// The table of models and the reward models' accuracies of a summary.json.
std::string summary_text(const std::filesystem::path& summary);

}  // namespace keel::pipelines::report
