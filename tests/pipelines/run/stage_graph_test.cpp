#include "pipelines/run/stage_graph.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "support/test_plain.h"

namespace keel::pipelines::run {
namespace {

using Catch::Matchers::ContainsSubstring;

Stage sft_stage() {
  Stage stage;
  stage.name = "sft";
  stage.schema_version = 2;
  stage.inputs = {"pretrain"};
  stage.roles = {"model: pretrain"};
  stage.config = R"({"lr": 0.001, "steps": 300, "name": "a"})";
  stage.external = {{"data.helpful", std::string(64, 'c')}};
  stage.run = [](const StageContext&) {};
  return stage;
}

std::string sft_key(const Stage& stage, const Numerics& numerics = {}, uint64_t seed = 7, const std::string& input = std::string(64, 'a')) {
  return key_of(key_material(stage, numerics, seed, {{"pretrain", input}}));
}

}  // namespace

TEST_CASE("stage key: SHA-256 of the material as JSON with sorted keys", "[pipelines]") {
  // Python: hashlib.sha256(json.dumps(material, sort_keys=True, separators=(',', ':')).encode()).hexdigest()
  CHECK(sft_key(sft_stage()) == "9be56933351a52c96cebf77112b3718b624025cafca699c13aa9ac0c8976e54a");
  Stage spaced = sft_stage();
  spaced.config = "{\"steps\":300,\n \"name\":\"a\", \"lr\":1e-3}";
  CHECK(sft_key(spaced) == sft_key(sft_stage()));
}

TEST_CASE("stage key: changes with everything that can change a result, one by one", "[pipelines]") {
  std::set<std::string> keys = {sft_key(sft_stage())};
  Stage stage = sft_stage();
  stage.name = "sft2";
  keys.insert(sft_key(stage));
  stage = sft_stage();
  stage.schema_version = 3;
  keys.insert(sft_key(stage));
  stage = sft_stage();
  stage.config = R"({"lr": 0.002, "steps": 300, "name": "a"})";
  keys.insert(sft_key(stage));
  stage = sft_stage();
  stage.external["data.helpful"][0] = 'e';
  keys.insert(sft_key(stage));
  stage = sft_stage();
  stage.roles = {"model: pretrain", "pool: pretrain/kept.jsonl.gz"};
  keys.insert(sft_key(stage));
  stage = sft_stage();
  keys.insert(sft_key(stage, {}, 8));
  keys.insert(sft_key(stage, {}, 7, std::string(64, 'b')));
  keys.insert(sft_key(stage, {.device = "cuda", .dtype = "fp32", .deterministic = true}));
  keys.insert(sft_key(stage, {.device = "cpu", .dtype = "bf16", .deterministic = true}));
  keys.insert(sft_key(stage, {.device = "cpu", .dtype = "fp32", .deterministic = false}));
  CHECK(keys.size() == 11);
}

TEST_CASE("stage key: differences are told in words, the settings by their dotted names", "[pipelines]") {
  const Stage before = sft_stage();
  Stage now = before;
  now.config = R"({"lr": 0.002, "steps": 300, "name": "a", "decay": {"kind": "cosine"}})";
  now.schema_version = 3;
  now.inputs = {"pretrain", "world"};
  now.external = {{"data.harmless", std::string(64, 'd')}};
  const auto old_material = key_material(before, {}, 7, {{"pretrain", std::string(64, 'a')}});
  const auto new_material =
      key_material(now, {.device = "cuda", .dtype = "fp32", .deterministic = true}, 7, {{"pretrain", std::string(64, 'b')}});
  const std::vector<std::string> expected = {
      R"(config.decay: absent -> {"kind":"cosine"})",
      "config.lr: 0.001 -> 0.002",
      "external data.harmless is new",
      "external data.helpful is no longer used",
      "input pretrain changed (aaaaaaaaaaaa -> bbbbbbbbbbbb)",
      "input world is new",
      R"(numerics.device: "cpu" -> "cuda")",
      "schema_version: 2 -> 3",
  };
  CHECK(key_differences(old_material, new_material) == expected);
  CHECK(key_differences(old_material, old_material).empty());
  const std::vector<std::string> unknown = {"input pretrain is not known yet: that stage has to run first"};
  CHECK(key_differences(old_material, key_material(before, {}, 7, {})) == unknown);
}

TEST_CASE("stage graph: every problem is named at once", "[pipelines]") {
  std::vector<Stage> stages(4, sft_stage());
  stages[0].inputs = {"sft"};  // itself: a cycle
  stages[1].name = "../escape";
  stages[1].inputs = {"late"};
  stages[2].config = "{\"lr\": }";  // and a second "sft"
  stages[2].inputs = {};
  stages[3].name = "late";
  stages[3].inputs = {};
  stages[3].run = nullptr;
  try {
    check_graph(stages);
    FAIL("accepted");
  } catch (const core::ConfigError& error) {
    CHECK(error.problems.size() == 6);
    const std::string text = error.what();
    CHECK_THAT(text, ContainsSubstring("stage 'sft' reads 'sft'"));
    CHECK_THAT(text, ContainsSubstring("'../escape' must be lower-case"));
    CHECK_THAT(text, ContainsSubstring("reads 'late', which must be the name of a stage that comes before"));
    CHECK_THAT(text, ContainsSubstring("two stages are called 'sft'"));
    CHECK_THAT(text, ContainsSubstring("config of stage 'sft':1: "));
    CHECK_THAT(text, ContainsSubstring("stage 'late' has no code"));
  }
  stages = {sft_stage()};
  stages[0].inputs = {};
  CHECK_NOTHROW(check_graph(stages));
}

TEST_CASE("stage graph: a mistyped stage gets the nearest name", "[pipelines]") {
  std::vector<Stage> stages(2, sft_stage());
  stages[0].name = "pretrain";
  CHECK(find_stage(stages, "sft", "--until") == 1);
  CHECK_THROWS_WITH(find_stage(stages, "stf", "--until"),
                    "--until: no stage is called 'stf' (did you mean 'sft'?); the stages are pretrain, sft");
  CHECK_THROWS_AS(find_stage({}, "sft", "--until"), core::UsageError);
}

}  // namespace keel::pipelines::run
