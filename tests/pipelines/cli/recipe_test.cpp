// The recipes that come with keel, and how a recipe, --config and --set combine.
#include "pipelines/recipe/recipe.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/json.h"
#include "pipelines/ablation/sweep.h"
#include "pipelines/stages/graph.h"
#include "support/test_plain.h"

namespace keel::pipelines::recipe {
namespace {

namespace fs = std::filesystem;

// The problems of a recipe file with this text under these settings.
std::vector<std::string> problems_in(const std::string& text, const std::vector<std::string>& settings = {}) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "recipe.json", text);
  try {
    read_recipe(folder / "recipe.json", "", settings);
  } catch (const core::ConfigError& error) {
    return error.problems;
  }
  return {};
}

// A recipe on preference files, with these members added.
std::string on_files(const std::string& members) {
  return R"({"name": "r", "model": "model", "rejection": {"sampling": {"max_new_tokens": 64}}, "evaluation": {"max_new_tokens": 64}, )"
         R"("data": {"source": "files", "helpful": "a.jsonl", "harmless": "b.jsonl"}, )" +
         members + "}";
}

// The keys of all stages without the digests of their inputs.
std::vector<std::string> keys_of(const Recipe& recipe) {
  std::vector<std::string> keys;
  for (const run::Stage& stage : stages::build_stages(recipe, {{"model", ""}, {"data.helpful", ""}, {"data.harmless", ""}}))
    keys.push_back(run::key_of(run::key_material(stage, {}, static_cast<uint64_t>(recipe.seed), {})));
  return keys;
}

// Settings "name=value" with values other than the default, of which some may be refused.
std::vector<std::string> other_settings(const core::Field& field, const nlohmann::json& value) {
  std::vector<nlohmann::json> values;
  if (value.is_boolean()) values = {!value.get<bool>()};
  if (value.is_number_integer())
    values = {value.get<int64_t>() + 1, value.get<int64_t>() + 16, value.get<int64_t>() * 2, value.get<int64_t>() / 2};
  if (value.is_number_float()) values = {value.get<double>() / 2, value.get<double>() * 2, 0.5};
  if (value.is_array())
    values = {nlohmann::json::parse("[2, 1, 0.5, 0.1]"), nlohmann::json::parse(R"(["ppo"])"), nlohmann::json::parse(R"(["o_proj"])"),
              nlohmann::json::parse(R"(["hobby"])"), nlohmann::json::parse("[3]")};
  if (value.is_string()) values = {"rhyme", "http://judge:8000", "hh"};
  if (value.is_string() && !field.check.schema.empty())
    for (const auto& allowed : nlohmann::json::parse(field.check.schema).value("enum", nlohmann::json::array()))
      values.push_back(allowed);
  std::vector<std::string> settings;
  for (const auto& other : values)
    settings.push_back(field.name + "=" + (other.is_string() ? other.get<std::string>() : other.dump()));
  return settings;
}

}  // namespace

TEST_CASE("recipes: every field, changed, changes the key of a stage or is refused", "[pipelines]") {
  const std::string
      sandbox =
          R"({"name": "r", "versions": ["rejection", "rejection", "ppo"], )"
          R"("gatt": {"from_version": 2, "listed": {"kinds": ["figure"]}}, "distill": {"from_version": 2}, "best_of": {"samples": 4}, "rejection": {"samples": 8, "temperatures": [0.5, 1]}})",
      options =
          R"({"name": "r", "versions": ["rejection", "ppo"], "sandbox": {"corpus": {"instruction": 0}}, "reward": {"loss": {"margin": "own", )"
          R"("margin_table": [3, 2, 1, 0]}, "lora": {"rank": 4}}, "sft": {"lora": {"rank": 4}}, "rejection": {"sft": {"lora": {"rank": 4}}}, )"
          R"("ppo": {"kl": {"controller": "adaptive", "estimator": "k2"}, "lora": {"rank": 4}, )"
          R"("ptx": {"weight": 0.1}, "reward": {"missing_eos_penalty": 1}}})",
      batches = R"("versions": ["rejection", "ppo"], "ppo": {"sampling": {"max_new_tokens": 64}}, "preferences": )"
                R"({"max_new_tokens": 64, "annotator": )",
      judge = on_files(
          batches +
          R"("judge", "judge": {"model": "m"}}, "gatt": {"from_version": 1, "dialogues": "d", "test_dialogues": "t", "instructions": "i", )"
          R"("judge": {"model": "m"}})"),
      people = on_files(batches + R"("people", "people": "filled"})");
  const test::TemporaryFolder folder;
  const std::vector<std::string> texts = {sandbox, options, judge, people};
  std::vector<std::pair<fs::path, std::vector<std::string>>> recipes;  // with their keys
  for (const auto& text : texts) {
    const fs::path file = folder / (std::to_string(recipes.size()) + ".json");
    test::write_text(file, text);
    recipes.emplace_back(file, keys_of(read_recipe(file, "", {})));
  }
  std::vector<std::string> without_key;
  Recipe defaults;
  const core::Fields fields = core::fields_of(defaults);
  const nlohmann::json values = core::to_json(fields);
  for (const core::Field& field : fields.list()) {
    std::string path = "/" + field.name;
    std::replace(path.begin(), path.end(), '.', '/');
    const auto settings = other_settings(field, values.at(nlohmann::json::json_pointer(path)));
    const auto changes_a_key = [&](const auto& recipe) {
      return std::any_of(settings.begin(), settings.end(), [&](const std::string& setting) {
        try {
          return keys_of(read_recipe(recipe.first, "", {setting})) != recipe.second;
        } catch (const core::ConfigError&) {
          return false;  // another value or recipe must show it
        }
      });
    };
    if (std::none_of(recipes.begin(), recipes.end(), changes_a_key)) without_key.push_back(field.name);
  }
  // Files, models and servers count by content, not by path or address; the other data.source is another recipe.
  std::vector<std::string> expected = {"threads",
                                       "model",
                                       "base",
                                       "data.source",
                                       "data.sources",  // sources_test.cpp
                                       "data.helpful",
                                       "data.harmless",
                                       "preferences.people",
                                       "preferences.judge.url",
                                       "preferences.judge.parallel",
                                       "preferences.judge.timeout_seconds",
                                       "preferences.judge.retries",
                                       "preferences.judge.budget",
                                       "preferences.judge.guidelines",
                                       "preferences.judge.verdict"};  // refused without guidelines, see judged_run_test.cpp
  // Refused: nothing is held out from kept answers, PPO samples from the whole distribution, a constant schedule has no end.
  for (const std::string setting : {"rejection.sft.batch.validate_every=9", "ppo.sampling.top_p=0.5", "ppo.sampling.top_k=9",
                                    "ppo.schedule.final_ratio=0.5", "ppo.critic_schedule.final_ratio=0.5"}) {
    INFO(setting);
    expected.push_back(setting.substr(0, setting.find('=')));
    CHECK_THROWS_AS(read_recipe(recipes[0].first, "", {setting}), core::ConfigError);
  }
  expected.insert(
      std::find(expected.begin(), expected.end(), "ppo.sampling.top_p"),
      {"gatt.dialogues", "gatt.test_dialogues", "gatt.instructions", "gatt.judge.url", "gatt.judge.parallel", "gatt.judge.timeout_seconds",
       "gatt.judge.retries", "gatt.judge.budget", "distill.preprompts"});  // files and servers, too
  CHECK(without_key == expected);
}

TEST_CASE("recipes: every file in recipes/ is read whole, passes its checks and departs from the paper only where it says", "[pipelines]") {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(KEEL_SOURCE_DIR) / "recipes")) {
    if (entry.path().extension() != ".json") continue;
    INFO(entry.path().string());
    ++files;
    const nlohmann::json object = core::read_json_file(entry.path());
    // A recipe on real data does not name its files.
    const bool on_files = object.contains("data") && object["data"].value("source", "") == "files";
    const std::vector<std::string> places = {"data.helpful=helpful.jsonl", "data.harmless=harmless.jsonl"};
    Recipe recipe = read_recipe(entry.path(), "", on_files ? places : std::vector<std::string>{});
    CHECK(recipe.name == object["name"].get<std::string>());
    const nlohmann::json flat = core::to_json(core::fields_of(recipe)).flatten(), given = object.flatten();
    for (const auto& [name, value] : given.items()) {
      INFO(name);
      REQUIRE(flat.contains(name));
      if (value.is_primitive() && !flat[name].is_string()) CHECK(flat[name] == value);
    }
    CHECK_FALSE(changed_settings(recipe).empty());
    CHECK_NOTHROW(run::check_graph(stages::build_stages(recipe, {{"model", ""}, {"data.helpful", ""}, {"data.harmless", ""}})));
  }
  CHECK(files >= 2);
}

TEST_CASE("recipes: every sweep in recipes/sweeps is read, and all its cells pass the checks", "[pipelines]") {
  int sweeps = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(KEEL_SOURCE_DIR) / "recipes" / "sweeps")) {
    INFO(entry.path().string());
    nlohmann::json object = core::read_json_file(entry.path());
    object["base"] = (std::filesystem::path(KEEL_SOURCE_DIR) / object.at("base").get<std::string>()).string();
    const test::TemporaryFolder folder;
    test::write_text(folder / "sweep.json", object.dump());
    CHECK_FALSE(ablation::read_sweep(folder / "sweep.json").cells.empty());
    ++sweeps;
  }
  CHECK(sweeps >= 5);
}

TEST_CASE("versions: the paper's five, with the models that each starts from and the batches it knows", "[pipelines]") {
  Recipe recipe;
  recipe.name = "paper";
  const auto versions = versions_of(recipe);
  REQUIRE(versions.size() == 5);
  CHECK((versions[0].newest == "sft" && versions[0].before.empty() && versions[0].prompts == "data"));
  CHECK((versions[1].newest == "rs1" && versions[1].before == "sft" && versions[1].preferences == "preferences2"));
  CHECK((versions[4].newest == "rs4" && versions[4].before == "rs3" && versions[4].rejection == "rs5" && versions[4].ppo == "ppo"));
  CHECK(batches_until(versions, versions[2]) == std::vector<std::string>{"preferences", "preferences2", "preferences3"});

  recipe.versions.push_back("ppo");
  const auto more = versions_of(recipe);
  CHECK((more[4].ppo == "ppo" && more[5].ppo == "ppo6" && more[5].newest == "ppo" && more[5].before == "rs4"));

  // The pool: V1 to V3 learn from their own answers, V4 from all; PPO's own answers are no part of it.
  const auto stages = stages::build_stages(recipe, {});
  const auto reads = [&](const std::string& name, const std::vector<std::string>& wanted) {
    INFO(name);
    const auto stage = std::find_if(stages.begin(), stages.end(), [&](const run::Stage& one) { return one.name == name; });
    REQUIRE(stage != stages.end());
    return std::all_of(wanted.begin(), wanted.end(), [&](const std::string& input) {
      return std::find(stage->inputs.begin(), stage->inputs.end(), input) != stage->inputs.end();
    });
  };
  const auto draws = [&](const std::string& name) {
    const auto stage = std::find_if(stages.begin(), stages.end(), [&](const run::Stage& one) { return one.name == name; });
    return nlohmann::json::parse(stage->config).at("draws").get<std::string>();
  };
  CHECK((draws("ppo").empty() && draws("ppo6") == "ppo6"));  // the second PPO does not repeat the draws of the first
  CHECK((reads("rs3", {"rs2"}) && !reads("rs3", {"rs1"})));
  CHECK(reads("rs4", {"rs1", "rs2", "rs3"}));
  CHECK(reads("rs6", {"ppo", "rs1", "rs5"}));
  CHECK(reads("reward_safety4", {"preferences", "preferences4", "reward_safety3"}));

  recipe.versions = {"rejection", "reward"};
  const auto ends_early = versions_of(recipe);
  CHECK((ends_early[1].rejection.empty() && ends_early[1].ppo.empty() && ends_early[1].safety == "reward_safety2"));
  for (const auto& stage : stages::build_stages(recipe, {}))
    CHECK(stage.name != "rs2");

  Recipe real;
  real.data.source = DataSource::files;
  real.preferences.annotator = Annotator::none;
  const auto given = versions_of(real);
  CHECK((given[0].data == "data" && given[0].preferences.empty() && given[0].comparisons.empty()));
  CHECK((given[3].data.empty() && given[3].preferences.empty() && given[3].safety == "reward_safety"));
}

TEST_CASE("recipes: --config goes over the recipe and --set over both; problems of all three come at once", "[pipelines]") {
  const test::TemporaryFolder folder;
  test::write_text(folder / "recipe.json",
                   R"({"name": "r", "seed": 1, "sft": {"epochs": 1, "schedule": {"warmup_steps": 1}}, "evaluation": {"replicates": 100}})");
  test::write_text(folder / "overlay.json", R"({"seed": 2, "sft": {"schedule": {"warmup_steps": 2}}, "evaluation": {"replicates": 200}})");
  const Recipe recipe = read_recipe(folder / "recipe.json", folder / "overlay.json", {"evaluation.replicates=300"});
  CHECK(recipe.name == "r");
  CHECK(recipe.seed == 2);
  CHECK(recipe.sft.epochs == 1);
  CHECK(recipe.sft.schedule.warmup_steps == 2);
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

TEST_CASE("recipes: a field that no stage of the run reads is refused, whichever of data, annotator and versions leaves it out",
          "[pipelines]") {
  const std::string sandbox = R"({"name": "r", "versions": ["rejection", "ppo"]})", one = R"({"name": "r", "versions": ["ppo"]})",
                    short_answers = R"("ppo": {"sampling": {"max_new_tokens": 64}}, "preferences": {"max_new_tokens": 64, "annotator": )",
                    versions = R"("versions": ["rejection", "ppo"], )" + short_answers,
                    people = on_files(versions + R"("people", "people": "filled"})"),
                    judge = on_files(versions + R"("judge", "judge": {"model": "m"}})"),
                    nobody = on_files(R"("versions": ["rejection", "ppo"], "ppo": {"sampling": {"max_new_tokens": 64}}, )"
                                      R"("preferences": {"annotator": "none"})"),
                    no_ppo = on_files(R"("versions": ["rejection"])"),
                    rewards = R"({"name": "r", "model": "model", "evaluation": {"max_new_tokens": 64}, "versions": ["reward"],)"
                              R"( "data": {"source": "files", "helpful": "a.jsonl", "harmless": "b.jsonl"}})";
  for (const auto& recipe : {sandbox, one, people, judge, nobody, no_ppo, rewards}) {
    INFO(recipe);
    CHECK(problems_in(recipe).empty());
  }
  struct Unread {
    std::string recipe, setting, reader;
  };
  for (const auto& [recipe, setting, reader] :
       std::vector<Unread>{{sandbox, "data.max_pairs=9", "a run with data.source \"sandbox\""},
                           {sandbox, "preferences.people=filled", "a run with data.source \"sandbox\""},
                           {sandbox, "preferences.judge.parallel=2", "a run with data.source \"sandbox\""},
                           {people, "llama.hidden_size=64", "a run with data.source \"files\""},
                           {people, "preferences.pairs=30", "a run with data.source \"files\""},
                           {judge, "preferences.public_pairs=30", "a run with data.source \"files\""},
                           {judge, "preferences.grammar_share=0.1", "a run with data.source \"files\""},
                           {people, "preferences.held_out=0.3", "a run with data.source \"files\""},
                           {people, "preferences.judge.retries=1", "preferences.annotator \"people\""},
                           {judge, "preferences.people=filled", "preferences.annotator \"judge\""},
                           {nobody, "preferences.later_pairs=30", "preferences.annotator \"none\""},
                           {nobody, "preferences.temperatures=[1]", "preferences.annotator \"none\""},
                           {nobody, "preferences.judge.model=m", "preferences.annotator \"none\""},
                           {one, "preferences.later_pairs=30", "a run of one version"},
                           {one, "sandbox.absent_skill=spell", "a run of one version"},
                           {no_ppo, "rejection.pool_from=2", "a run of one version"},
                           {no_ppo, "preferences.max_new_tokens=64", "a run of one version on real data"},
                           {no_ppo, "ppo.epochs=2", "a run without a version \"ppo\""},
                           {one, "best_of.prompts=9", "a run with best_of.samples 0"},
                           {one, "best_of.temperatures=[1]", "a run with best_of.samples 0"},
                           {rewards, "rejection.samples=8", "a run of reward models alone"}}) {
    const std::string field = setting.substr(0, setting.find('='));
    const auto problems = problems_in(recipe, {setting});
    INFO(setting);
    REQUIRE(problems.size() == 1);
    CHECK_THAT(problems[0], Catch::Matchers::ContainsSubstring("recipe.json: " + field + ": " + reader + " does not read it"));
  }
  for (const auto& [recipe, setting] : std::vector<std::pair<std::string, std::string>>{{sandbox, "preferences.later_pairs=30"},
                                                                                        {no_ppo, "preferences.annotator=none"},
                                                                                        {sandbox, "preferences.held_out=0.3"},
                                                                                        {judge, "preferences.judge.retries=1"},
                                                                                        {people, "preferences.temperatures=[1]"},
                                                                                        {one, "ppo.epochs=2"}}) {
    INFO(setting);
    CHECK(problems_in(recipe, {setting}).empty());
  }
}

TEST_CASE("recipes: a version of reward models alone is the last, and needs pairs", "[pipelines]") {
  const auto early = problems_in(R"({"name": "r", "versions": ["reward", "rejection"]})");
  REQUIRE(early.size() == 1);
  CHECK_THAT(early[0],
             Catch::Matchers::ContainsSubstring("versions: \"reward\"") && Catch::Matchers::ContainsSubstring("only be the last"));
  const auto idle = problems_in(on_files(R"("versions": ["rejection", "reward"], "preferences": {"annotator": "none"})"));
  REQUIRE(idle.size() == 1);
  CHECK_THAT(idle[0], Catch::Matchers::ContainsSubstring("versions: a later \"reward\" has nothing to learn from"));
}

TEST_CASE("recipes: what a file sets for versions or a study that a variant leaves out may stay, what the variant sets may not",
          "[pipelines]") {
  const std::string file = R"({"name": "r", "versions": ["rejection", "ppo"], "ppo": {"epochs": 2}, "preferences": {"later_pairs": 30}})",
                    shorter = R"(versions=["rejection"])";
  CHECK(problems_in(file, {shorter}).empty());
  CHECK(problems_in(file, {shorter, "ppo.epochs=3"}).size() == 1);
  CHECK(problems_in(file, {shorter, "ppo.kl.coefficient=0.1", "preferences.later_pairs=31"}).size() == 2);
  const std::string one = R"({"name": "r", "versions": ["rejection"], "ppo": {"epochs": 2}})";
  CHECK(problems_in(one).size() == 1);
  CHECK(problems_in(one, {R"(versions=["ppo"])"}).empty());
  const std::string study = R"({"name": "r", "best_of": {"samples": 8, "prompts": 9}})";
  CHECK(problems_in(study, {"best_of.samples=0"}).empty());
  CHECK(problems_in(study, {"best_of.samples=0", "best_of.prompts=10"}).size() == 1);
  const std::string methods = R"({"name": "r", "gatt": {"from_version": 1, "weight": 0.3}, "distill": {"from_version": 1, "weight": 0.3}})";
  CHECK(problems_in(methods, {"gatt.from_version=0", "distill.from_version=0"}).empty());
  CHECK(problems_in(methods, {"gatt.from_version=0", "gatt.weight=0.25"}).size() == 1);
  CHECK_NOTHROW(read_recorded_recipe(R"({"name": "r", "gatt": {"weight": 0.3}, "distill": {"weight": 0.3}})", "run.json", "", {}));
  // The recorded recipe of such a variant can be read again, as by `keel status`.
  CHECK_NOTHROW(read_recorded_recipe(R"({"name": "r", "best_of": {"samples": 0, "prompts": 9}})", "run.json", "", {}));
  CHECK_NOTHROW(read_recorded_recipe(R"({"name": "r", "versions": ["rejection"], "ppo": {"epochs": 2}})", "run.json", "", {}));
}

TEST_CASE("recipes: more frozen layers or wider adapters than the model has are refused before the run, by their whole names",
          "[pipelines]") {
  const std::string shape = R"("hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, )"
                            R"("num_key_value_heads": 1, "max_position_embeddings": 512)",
                    sandbox = R"({"name": "r", "llama": {)" + shape + "}}";
  const test::TemporaryFolder model;
  test::write_text(model / "config.json",
                   R"({"model_type": "llama", "vocab_size": 9, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, )" + shape + "}");
  const std::string files = on_files(R"("versions": ["ppo"], "ppo": {"sampling": {"max_new_tokens": 64}})");
  for (const auto& [recipe, where] :
       {std::pair<std::string, std::vector<std::string>>{sandbox, {}}, {files, {"model=" + model.path().string()}}}) {
    const auto problems = [&, &recipe = recipe, &where = where](std::vector<std::string> settings) {
      settings.insert(settings.end(), where.begin(), where.end());
      return problems_in(recipe, settings);
    };
    CHECK(problems({"reward.frozen_layers=2", "ppo.lora.rank=8"}).empty());  // k_proj and v_proj are 16 by 8
    CHECK_THAT(problems({"sft.lora.rank=9"}).at(0), Catch::Matchers::ContainsSubstring("sft.lora.rank must be at most 8"));
    CHECK_THAT(problems({"rejection.sft.lora.rank=9"}).at(0),
               Catch::Matchers::ContainsSubstring("rejection.sft.lora.rank must be at most 8"));
    CHECK_THAT(problems({"reward.lora.rank=9"}).at(0), Catch::Matchers::ContainsSubstring("reward.lora.rank must be at most 8"));
    CHECK_THAT(problems({"reward.lora.rank=2", "reward.frozen_layers=1"}).at(0),
               Catch::Matchers::ContainsSubstring("reward.frozen_layers: with lora.rank"));
    const auto found = problems({"reward.frozen_layers=3", "ppo.lora.rank=9"});
    REQUIRE(found.size() == 2);
    CHECK_THAT(found[0], Catch::Matchers::ContainsSubstring("reward.frozen_layers must be at most the 2 layers of the model, got 3"));
    CHECK_THAT(found[1], Catch::Matchers::ContainsSubstring("ppo.lora.rank must be at most 8, the smaller side of v_proj, got 9"));
  }
}

TEST_CASE("recipes: a setting that another one leaves without effect is refused by its whole name", "[pipelines]") {
  const std::string recipe = R"({"name": "r", "rejection": {"temperatures": [0.5, 1]}})";
  CHECK(problems_in(recipe).empty());
  for (const std::string setting : {"rejection.sampling.temperature=0.7", "ppo.kl.target=3", "ppo.kl.horizon=10", "ppo.lora.alpha=8",
                                    "sft.lora.alpha=8", "reward.lora.alpha=8", "rejection.sft.lora.alpha=8", "ppo.ptx.batch_sequences=8"}) {
    INFO(setting);
    const auto problems = problems_in(recipe, {setting});
    REQUIRE(problems.size() == 1);
    CHECK_THAT(problems[0], Catch::Matchers::ContainsSubstring("recipe.json: " + setting.substr(0, setting.find('=')) + ": "));
  }
}

}  // namespace keel::pipelines::recipe
