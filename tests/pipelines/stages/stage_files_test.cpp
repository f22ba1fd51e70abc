// Prompts of the versions of a run on preference files: a cap on the pairs does not cap the prompts.
#include <set>

#include "core/log.h"
#include "pipelines/cli/keel_binary.h"
#include "pipelines/stages/run_stage.h"

namespace keel::pipelines::stages {
namespace {

// The data stage and the prompts of V2 and V3 of a run on 40 pairs of each kind.
struct FilesRun {
  test::Workplace work;
  recipe::Recipe recipe;

  explicit FilesRun(int64_t max_pairs) {
    core::set_log_level("error");
    test::write_files_recipe(work);
    recipe.data.source = recipe::DataSource::files;
    recipe.data.helpful = work / "helpful.jsonl";
    recipe.data.harmless = work / "harmless.jsonl";
    recipe.data.held_out = 0.4;
    recipe.data.train_prompts = recipe.data.test_prompts = recipe.data.max_demonstrations = 8;
    recipe.data.validation_prompts = 2;
    recipe.data.max_pairs = max_pairs;
    recipe.preferences.annotator = recipe::Annotator::judge;
    for (const char* stage : {"data", "prompts2", "prompts3"})
      std::filesystem::create_directories(work / stage);
    test::run_stage(recipe, "data", {.work = work / "data", .inputs = {}, .seed = 1});
    for (const std::string stage : {"prompts2", "prompts3"})
      test::run_stage(recipe, stage, {.work = work / stage, .inputs = {{"data", work / "data"}}, .seed = 1});
  }

  std::vector<nlohmann::json> prompts(const std::string& stage) const { return test::rows_in(work / stage / "prompts_train.jsonl"); }
  size_t pairs(const std::string& kind) const { return test::rows_in(work / ("data/" + kind + "_train.jsonl")).size(); }
};

}  // namespace

TEST_CASE("files: where max_pairs leaves few pairs, each version still asks prompts of its own, the same as without it", "[pipelines]") {
  const FilesRun whole(0), capped(5);
  CHECK(whole.pairs("helpfulness") > 12);
  CHECK((capped.pairs("helpfulness") == 5 && capped.pairs("safety") == 5));
  std::set<nlohmann::json> asked;
  for (const char* stage : {"data", "prompts2", "prompts3"}) {
    CHECK(capped.prompts(stage) == whole.prompts(stage));
    for (const auto& row : capped.prompts(stage))
      asked.insert(row);
  }
  CHECK(asked.size() == 24);
  CHECK(test::read_text(capped.work / "prompts2/prompts_comparisons.jsonl") ==
        test::read_text(whole.work / "prompts2/prompts_comparisons.jsonl"));
}

}  // namespace keel::pipelines::stages
