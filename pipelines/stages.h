// The recipe as a graph: which stage reads which, and what each of them does.
//
//   data -> base -> sft -> preferences -> reward_helpfulness, reward_safety -> rs1 -> ppo -> evaluation -> report
//
// With real data the pairs come from files (no preferences stage) and the start checkpoint takes the place of base.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/operations.h"
#include "pipelines/recipe.h"
#include "pipelines/stage_graph.h"

namespace keel::pipelines {

// SHA-256 of what a run reads from outside its folder, by role: "model", "data.helpful", "data.harmless"; nothing in the sandbox. For a
// file or folder that is gone the digest in `recorded` stands in; UsageError when it has none.
std::map<std::string, std::string> external_digests(const Recipe& recipe, const std::map<std::string, std::string>& recorded = {});

std::vector<Stage> build_stages(const Recipe& recipe, const std::map<std::string, std::string>& external);

// The models that a run makes, in order, and the stages that hold them; "base" of a run on real data is the start checkpoint, with no
// stage.
std::vector<std::pair<std::string, std::string>> run_models(const Recipe& recipe);

// What becomes of dialogues that do not fit, and of tags inside messages, in every stage of the run.
RenderPolicy length_limit(const Recipe& recipe);

// What the stages do; each writes into context.work.
void write_sandbox_data(const Recipe& recipe, const StageContext& context);
void write_file_data(const Recipe& recipe, const StageContext& context);
void collect_preferences(const Recipe& recipe, const StageContext& context);
void evaluate_models(const Recipe& recipe, const StageContext& context);
void write_run_report(const Recipe& recipe, const StageContext& context);

// Where a model of the run lies, for a stage that has its stage as input.
std::filesystem::path model_folder(const Recipe& recipe, const StageContext& context, const std::string& name);

}  // namespace keel::pipelines
