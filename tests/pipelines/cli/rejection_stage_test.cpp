// Rejection sampling as a stage: which model answers, which one is fine-tuned, and on what.
#include "pipelines/cli/keel_binary.h"
#include "pipelines/stages/run_stage.h"

namespace keel::pipelines::cli {

using test::rows_in;
using test::Workplace;

TEST_CASE("rejection stage: the newest model answers, and it is the base model that is fine-tuned, in every version", "[pipelines]") {
  const Workplace work;
  work.write("rows.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who\"},{\"role\":\"assistant\",\"content\":\"the baker\"}]}\n");
  std::filesystem::create_directories(work / "prompts2");
  work.write("prompts2/prompts_train.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n");
  const auto tuned = [](const std::string& name, const std::string& rate) {
    return std::vector<std::string>{
        "sft", "--model", "model", "--data", "rows.jsonl", "--out", name, "--set", "steps=1", "--set", "schedule.learning_rate=" + rate};
  };
  for (const auto& outcome : work.run_all({tuned("base", "0"), tuned("rs1", "1e-1")}))
    REQUIRE(outcome.code == 0);

  recipe::Recipe recipe;
  recipe.versions = {"rejection", "rejection"};
  recipe.rejection.samples = 4;
  recipe.rejection.sampling.max_new_tokens = 4;
  recipe.rejection.selection.finished_only = false;
  recipe.rejection.sft.steps = 1;
  recipe.rejection.sft.batch = {.batch_rows = 2, .row_tokens = 64, .micro_rows = 2};
  recipe.rejection.sft.schedule.learning_rate = 0;  // no weight moves: the result equals the start
  const auto run = [&](const std::string& newest, const std::string& out) {
    std::filesystem::create_directories(work / out);
    test::run_stage(recipe, "rs2",
                    {.work = work / out,
                     .inputs = {{"prompts2", work / "prompts2"},
                                {"rs1", work / newest},
                                {"reward_helpfulness2", work / "reward"},
                                {"reward_safety2", work / "reward"},
                                {"base", work / "base"}},
                     .seed = 1,
                     .threads = 1});
  };
  run("rs1", "after_rs1");
  run("base", "after_base");
  CHECK(core::sha256_file(work / "after_rs1/model.safetensors") == core::sha256_file(work / "base/model.safetensors"));
  CHECK(core::sha256_file(work / "rs1/model.safetensors") != core::sha256_file(work / "base/model.safetensors"));
  CHECK(rows_in(work / "after_rs1/samples.jsonl.gz") != rows_in(work / "after_base/samples.jsonl.gz"));
}

TEST_CASE("keel rejection: a constant number of steps over a pool that grows is warned about", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n");
  work.write("pool.jsonl", "{\"prompt_ids\":[1,5],\"answer_ids\":[6,2]}\n{\"prompt_ids\":[1,5],\"answer_ids\":[7,2]}\n");
  work.write("settings.json", R"({"samples": 2, "sampling": {"max_new_tokens": 4}, "selection": {"finished_only": false},
                                  "sft": {"batch": {"batch_rows": 2, "row_tokens": 64, "micro_rows": 2}}})");
  const auto rejection = [](const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> all = {"rejection", "--model",       "model",    "--start",       "model", "--reward", "reward",
                                    "--prompts", "prompts.jsonl", "--config", "settings.json", "--out", out};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto outcomes = work.run_all({rejection("pooled", {"--pool", "pool.jsonl", "--set", "sft.steps=6"}),
                                      rejection("epochs", {"--pool", "pool.jsonl"}), rejection("alone", {"--set", "sft.steps=6"})});
  for (const auto& outcome : outcomes) {
    REQUIRE(outcome.code == 0);
    CHECK_FALSE(outcome.says("without --start"));
  }
  CHECK(outcomes[0].says("sft.steps is 6 however large the pool is"));
  CHECK_FALSE((outcomes[1].says("sft.steps is") || outcomes[2].says("sft.steps is")));
}

}  // namespace keel::pipelines::cli
