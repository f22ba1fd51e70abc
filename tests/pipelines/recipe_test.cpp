// The recipes that come with keel, and how a recipe, --config and --set come together.
#include "pipelines/recipe.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "pipelines/stages.h"
#include "support/test_plain.h"

namespace keel::pipelines {

TEST_CASE("recipes: every file in recipes/ is read whole, passes its checks and departs from the paper only where it says", "[pipelines]") {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(KEEL_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() != ".json") continue;
    INFO(entry.path().string());
    ++files;
    const nlohmann::json object = core::read_json_file(entry.path());
    // A recipe on real data leaves open where they lie.
    const bool on_files = object.contains("data") && object["data"].value("source", "") == "files";
    const std::vector<std::string> places = {"data.helpful=helpful.jsonl", "data.harmless=harmless.jsonl"};
    Recipe recipe = read_recipe(entry.path(), "", on_files ? places : std::vector<std::string>{});
    CHECK(recipe.name == object["name"]);
    const nlohmann::json flat = core::to_json(core::fields_of(recipe)).flatten(), given = object.flatten();
    for (const auto& [name, value] : given.items()) {
      INFO(name);
      REQUIRE(flat.contains(name));
      if (value.is_primitive() && !flat[name].is_string()) CHECK(flat[name] == value);
    }
    CHECK_FALSE(departures(recipe).empty());
    if (!on_files) CHECK(build_stages(recipe, {}).size() == 10);
  }
  CHECK(files >= 2);
}

TEST_CASE("recipes: --config goes over the recipe and --set over both; problems of all three come at once", "[pipelines]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "recipe.json",
                   R"({"name": "r", "seed": 1, "sft": {"epochs": 1, "steps": 1}, "evaluation": {"replicates": 100}})");
  test::write_text(folder / "overlay.json", R"({"seed": 2, "sft": {"steps": 2}, "evaluation": {"replicates": 200}})");
  const Recipe recipe = read_recipe(folder / "recipe.json", folder / "overlay.json", {"evaluation.replicates=300"});
  CHECK(recipe.name == "r");
  CHECK(recipe.seed == 2);
  CHECK(recipe.sft.epochs == 1);
  CHECK(recipe.sft.steps == 2);
  CHECK(recipe.evaluation.replicates == 300);

  test::write_text(folder / "bad.json", R"({"sed": 2})");
  try {
    read_recipe(folder / "recipe.json", folder / "bad.json", {"sft.epochs=two"});
    FAIL("accepted");
  } catch (const core::ConfigError& error) {
    CHECK(error.problems.size() == 2);
    CHECK_THAT(error.problems[0], Catch::Matchers::ContainsSubstring("bad.json: unknown key \"sed\"; did you mean \"seed\""));
  }
  CHECK_THROWS_AS(read_recipe(folder / "recipe.json", folder / "none.json", {}), core::UsageError);
}

}  // namespace keel::pipelines
