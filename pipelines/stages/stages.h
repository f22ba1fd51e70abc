// The recipe as a graph: which stage reads which, and what each of them does.
//
//   data -> base -> sft -> comparisons -> preferences -> reward_helpfulness, reward_safety -> rs1 -> ppo -> evaluation -> report
//
// Further versions repeat the middle: prompts2 -> comparisons2 -> preferences2 -> reward_helpfulness2, reward_safety2 -> rs2 ... With real
// data the first pairs come from files (no comparisons, no preferences) and the start checkpoint takes the place of base.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "pipelines/recipe/recipe.h"
#include "pipelines/recipe/versions.h"
#include "pipelines/run/stage_graph.h"
#include "pipelines/stages/operations.h"

namespace keel::pipelines::stages {

// SHA-256 of what a run reads from outside its folder, by role: "model", "data.helpful", "data.harmless"; nothing in the sandbox. For a
// file or folder that is gone the digest in `recorded` stands in; UsageError when it has none.
std::map<std::string, std::string> external_digests(const recipe::Recipe& recipe, const std::map<std::string, std::string>& recorded = {});

// UsageError for a file or folder of external_digests() that does not exist. Reads none of them.
void check_external_files(const recipe::Recipe& recipe);

// The digests of what people filled in: their folder may go once its rows are part of a run.
std::map<std::string, std::string> people_digests(std::map<std::string, std::string> recorded);

std::vector<run::Stage> build_stages(const recipe::Recipe& recipe, const std::map<std::string, std::string>& external);

// The models that a run makes, in order, and the stages that hold them; "base" of a run on real data is the start checkpoint, with no
// stage.
std::vector<std::pair<std::string, std::string>> run_models(const recipe::Recipe& recipe);

// Where the reward models of the newest version lie, by kind: "helpfulness", "safety", and "general" where it exists.
std::vector<std::pair<std::string, std::string>> run_reward_models(const recipe::Recipe& recipe);

// A reward model of the run: what it learns from and what it must beat.
struct RewardStage {
  std::string name, kind;            // "reward_safety2", "safety"
  std::vector<std::string> batches;  // stages with <kind>_train.jsonl and <kind>_test.jsonl, oldest first
  double rest_share = 0;             // of pairs of the other kinds (MixtureConfig)
  std::string previous;              // stage of the version before; "" for the first
};

// What becomes of dialogues that do not fit, and of tags inside messages, in every stage of the run.
inference::RenderPolicy length_limit(const recipe::Recipe& recipe);

// What the stages do; each writes into context.work.
void write_sandbox_data(const recipe::Recipe& recipe, const run::StageContext& context);
void write_sandbox_prompts(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context);
void write_file_data(const recipe::Recipe& recipe, const run::StageContext& context);
void write_file_prompts(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context);
void collect_comparisons(const recipe::Recipe& recipe, const recipe::Version& version, const run::StageContext& context);
// `people`: SHA-256 of the file that people filled in, as it stands in the key; "" where there is none.
void annotate_comparisons(const recipe::Recipe& recipe, const recipe::Version& version, const std::string& people,
                          const run::StageContext& context);
void train_reward_stage(const recipe::Recipe& recipe, const RewardStage& stage, const run::StageContext& context);
void evaluate_models(const recipe::Recipe& recipe, const run::StageContext& context);
void study_best_of(const recipe::Recipe& recipe, const run::StageContext& context);

// Where a model of the run lies, for a stage that has its stage as input.
std::filesystem::path model_folder(const recipe::Recipe& recipe, const run::StageContext& context, const std::string& name);

}  // namespace keel::pipelines::stages
