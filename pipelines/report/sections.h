// The sections of a run's report, one function each.
#pragma once

#include <string>

#include "evaluation/report.h"
#include "pipelines/report/results.h"

namespace keel::pipelines::report {

evaluation::Section win_section(const Results& results);
// Each model against the one before: by the judges of the evaluation, and by the annotator of each batch. Empty for a single version
// without PPO.
evaluation::Section version_section(const recipe::Recipe& recipe, const Results& results, const Folders& folders);
evaluation::Section distribution_section(const recipe::Recipe& recipe, const Results& results);
evaluation::Section selection_section(const recipe::Recipe& recipe, const Folders& folders);  // empty where no version samples
evaluation::Section loss_section(const recipe::Recipe& recipe, const Results& results, const Folders& folders);
evaluation::Section ppo_section(const Results& results, const Folders& folders, const std::string& stage);
evaluation::Section distill_section(const recipe::Recipe& recipe, const Folders& folders);
evaluation::Section best_of_section(const Folders& folders);
evaluation::Section family_section(const Results& results);
evaluation::Section dialogue_section(const recipe::Recipe& recipe, const Results& results);
evaluation::Section record_section(const recipe::Recipe& recipe, const Results& results, const Folders& folders);

}  // namespace keel::pipelines::report
