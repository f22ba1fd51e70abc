// Ghost Attention and context distillation as stages of a run.
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::json_in;
using test::Outcome;
using test::rows_in;
using test::Workplace;

std::string stage_lines(const Outcome& outcome) {
  std::string names;
  std::istringstream text(outcome.out);
  for (std::string line; std::getline(text, line);)
    names += line.substr(0, line.find(' ')) + " ";
  return names;
}

}  // namespace

TEST_CASE("keel run: from a version on, fine-tuning learns Ghost Attention and distilled answers, too", "[pipelines]") {
  const Workplace work;
  nlohmann::json recipe = nlohmann::json::parse(std::string(test::kTinyRecipe), nullptr, true, true);
  recipe["versions"] = {"rejection", "rejection"};
  recipe["sandbox"]["dialogues"] = {{"train", 6}, {"test", 2}, {"turns", 3}};
  recipe["gatt"] = {{"from_version", 2},
                    {"weight", 0.3},
                    {"data", {{"finished_only", false}}},
                    {"answers", {{"sampling", {{"max_new_tokens", 4}}}}},
                    {"retention", {{"turns", {1, 3}}, {"dialogues", 2}, {"change_at", 2}}}};
  recipe["distill"] = {
      {"from_version", 2}, {"data", {{"finished_only", false}, {"keep", "always"}}}, {"answers", {{"sampling", {{"max_new_tokens", 4}}}}}};
  recipe.erase("ppo");
  work.write("run.json", recipe.dump());
  const Outcome plan = work.run({"run", "run.json", "--out", "run", "--dry-run"});
  CHECK(stage_lines(plan) ==
        "corpus data dialogues preprompts base sft comparisons preferences reward_helpfulness reward_safety rs1 prompts2 comparisons2 "
        "preferences2 "
        "reward_helpfulness2 reward_safety2 gatt2 distill2 rs2 evaluation gatt_evaluation report ");
  const Outcome done = work.run({"run", "run.json", "--out", "run"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(done.says("of them join"));
  CHECK(rows_in(work / "run/stages/gatt2/current/gatt.jsonl").size() <= 6);
  CHECK(rows_in(work / "run/stages/distill2/current/distilled.jsonl").size() > 0);
  // sft, rs1 and rs2 in four groups at two turns.
  CHECK(rows_in(work / "run/stages/gatt_evaluation/current/retention.jsonl").size() == 3 * 4 * 2);
  CHECK_THAT(work.read("run/report.html"),
             ContainsSubstring("Ghost Attention</h2>") && ContainsSubstring("Safety context distillation</h2>"));

  // Another weight computes the fine-tuning again, and no answers.
  const Outcome again = work.run({"run", "run.json", "--out", "run", "--set", "gatt.weight=0.5", "--dry-run"});
  CHECK_THAT(again.out, ContainsSubstring("gatt2                 done") || ContainsSubstring("gatt2                done"));
  CHECK(again.out.find("distill2") != std::string::npos);

  const Outcome beyond = work.run({"run", "run.json", "--out", "other", "--set", "gatt.from_version=3"});
  CHECK(beyond.code == 2);
  CHECK(beyond.says("gatt.from_version must be at most 2, the last version that is fine-tuned, got 3"));
  const Outcome unread = work.run({"run", "run.json", "--out", "other", "--set", "gatt.from_version=0", "--set", "gatt.weight=0.6"});
  CHECK(unread.code == 2);
  CHECK(unread.says("gatt.weight: a run with gatt.from_version 0 does not read it"));
}

TEST_CASE("keel run: dialogues that Ghost Attention cannot use are refused before any work", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  nlohmann::json recipe = json_in(work, "files.json");
  recipe["gatt"] = {{"from_version", 1},
                    {"dialogues", "train.jsonl"},
                    {"test_dialogues", "test.jsonl"},
                    {"instructions", "instructions.jsonl"},
                    {"answers", {{"sampling", {{"max_new_tokens", 4}}}}},
                    {"retention", {{"turns", {1, 3}}, {"dialogues", 2}, {"change_at", 2}}}};
  work.write("run.json", recipe.dump());
  const std::string two_turns =
      R"({"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "who?"}]})";
  work.write("train.jsonl", two_turns + "\n");
  work.write("test.jsonl", two_turns + "\n");
  work.write("instructions.jsonl", "{\"text\": \"write in lower case\", \"pattern\": \"^[^A-Z]*$\"}\n");
  const Outcome short_ones = work.run({"run", "run.json", "--out", "run"});
  INFO(short_ones.err);
  CHECK(
      (short_ones.code == 3 && short_ones.says("test.jsonl") && short_ones.says("has 2 user turns, fewer than the last of \"turns\", 3")));
  work.write("train.jsonl", "");
  const Outcome none = work.run({"run", "run.json", "--out", "run"});
  CHECK((none.code == 3 && none.says("train.jsonl: holds no dialogue")));
  CHECK_FALSE(work.has("run"));
}

}  // namespace keel::pipelines::cli
