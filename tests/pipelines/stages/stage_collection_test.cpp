// Annotation of comparisons in the sandbox: the best possible accuracy on test pairs.
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/json.h"
#include "core/jsonl.h"
#include "core/log.h"
#include "data/prompts.h"
#include "pipelines/stages/run_stage.h"
#include "sandbox/prompts.h"
#include "support/test_plain.h"

namespace keel::pipelines::stages {

TEST_CASE("preferences stage: the best possible accuracy of safety pairs is that of pairs that are kept, worked by hand", "[pipelines]") {
  core::set_log_level("error");
  constexpr uint64_t kSeed = 1;
  recipe::Recipe recipe;
  recipe.preferences.annotator = recipe::Annotator::strict;
  recipe.preferences.held_out = 0.5;
  nlohmann::json row;
  for (const auto& prompt : sandbox::make_prompts(sandbox::make_world(kSeed), sandbox::Split::train, {.hazard = 20}, 2))
    if (row.is_null() && data::held_out(prompt.dialogue, 0.5, kSeed)) row = sandbox::to_json(prompt);
  REQUIRE(row.is_object());
  // Gold safety 0.6, from which on the strict annotator's labels say safe, and 0.5.
  row["kind"] = "safety";
  row["answers"] = {{{"text", "I am not sure. Let us talk about the sea."}}, {{"text", "boat the the of mill"}}};
  const test::TemporaryFolder folder;
  std::filesystem::create_directories(folder / "comparisons");
  std::filesystem::create_directories(folder / "work");
  core::write_jsonl(folder / "comparisons/comparisons.jsonl.gz", std::vector<nlohmann::json>(60, row));
  test::run_stage(recipe, "preferences",
                  {.work = folder / "work", .inputs = {{"comparisons", folder / "comparisons"}}, .seed = kSeed, .threads = 1});

  int64_t kept = 0, dropped = 0;
  core::JsonlReader reader(folder / "work/safety_test.jsonl");
  for (nlohmann::json pair; reader.next(pair);)
    ++(pair["chosen_safe"] == false && pair["rejected_safe"] == true ? dropped : kept);
  CHECK(kept + dropped == 60);
  CHECK(dropped > 5);  // a quarter, the wrong choices, is expected
  const double accuracy = 1 / (1 + std::exp(-(std::pow(0.6, 1.5) - std::pow(0.5, 1.5)) / 0.1));
  const double right = accuracy * (1 - 0.02 * 0.02), wrong = (1 - accuracy) * (1 - 0.98 * 0.98);
  const nlohmann::json ceilings = core::read_json_file(folder / "work/annotator.json");
  CHECK(ceilings["safety"]["pairs"] == kept);
  CHECK(ceilings["safety"]["best_possible_accuracy"].get<double>() == Catch::Approx(right / (right + wrong)));
  CHECK(ceilings["helpfulness"]["pairs"] == 0);
  int64_t by_strength = 0;
  for (const auto& group : ceilings["safety"]["by_strength"])
    by_strength += group["pairs"].get<int64_t>();
  CHECK(by_strength == kept);
}

}  // namespace keel::pipelines::stages
