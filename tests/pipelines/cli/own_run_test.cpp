// Runs on a team's own data: batch after batch, a start without SFT, reward models of one's own, gold reward models.
#include <fmt/format.h>

#include <sstream>

#include "pipelines/cli/harbour_pairs.h"
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::json_in;
using test::pairs;
using test::Workplace;
using Json = nlohmann::json;

}  // namespace

TEST_CASE("keel run: a third batch recomputes nothing before it, and gold reward models measure every model", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  Json own = json_in(work, "files.json");
  own["versions"] = {"rejection", "rejection"};
  own["preferences"] = {{"annotator", "none"}};
  own["chat_format"] = "hh";
  const Json ppo = own["ppo"];
  own.erase("ppo");
  own["data"].erase("helpful");
  own["data"].erase("harmless");
  own["data"]["gold_share"] = 0.3;
  own["data"]["sources"] = Json::parse(R"([
    {"path": "helpful.jsonl", "kind": "helpfulness", "date": "2023-01-02"},
    {"path": "harmless.jsonl", "kind": "safety", "date": "2023-01-02"},
    {"path": "week2", "kind": "helpfulness", "batch": 2, "date": "2023-02-01"}
  ])");
  std::filesystem::create_directory(work / "week2");
  work.write("week2/pairs.jsonl", pairs(100, 40));
  work.write("own.json", own.dump());
  const auto first = work.run({"run", "own.json", "--out", "run"});
  INFO(first.err);
  REQUIRE(first.code == 0);
  Json summary = json_in(work, "run/summary.json");
  for (const auto& model : summary["models"])
    CHECK((model["gold_helpfulness"]["mean"].is_number() && model["gold_safety"]["mean"].is_number()));
  CHECK(summary["models"][2].contains("gold_helpfulness_vs_sft"));
  std::vector<std::string> rewards;
  for (const auto& reward : summary["reward_models"])
    rewards.push_back(reward["name"]);
  CHECK(rewards == std::vector<std::string>{"helpfulness", "safety", "gold_helpfulness", "gold_safety"});
  CHECK_THAT(work.read("run/report.html"), ContainsSubstring("Gold and proxy over KL"));
  CHECK(work.has("run/stages/reward_helpfulness2"));
  CHECK_FALSE(work.has("run/stages/reward_safety2"));  // no new pairs of that kind: the first model stays
  CHECK(json_in(work, "run/stages/base/current/keel.json")["chat_format"] == "hh");

  own["versions"] = {"rejection", "rejection", "ppo"};
  own["ppo"] = ppo;
  own["data"]["sources"].push_back({{"path", "week3.jsonl"}, {"kind", "safety"}, {"batch", 3}, {"date", "2023-03-01"}});
  work.write("week3.jsonl", pairs(200, 40, true));
  work.write("own.json", own.dump());
  const auto status = work.run({"run", "own.json", "--out", "run", "--dry-run"});
  for (const char* stage : {"data ", "data2", "base", "sft", "reward_helpfulness ", "reward_safety ", "gold_helpfulness", "gold_safety",
                            "rs1", "prompts2", "reward_helpfulness2", "rs2"}) {
    std::istringstream lines(status.out);
    bool done = false;
    for (std::string line; std::getline(lines, line);)
      done = done || (line.starts_with(stage) && line.find(" done") != std::string::npos);
    INFO(stage << "\n" << status.out);
    CHECK(done);
  }
  const auto extended = work.run({"run", "own.json", "--out", "run"});
  INFO(extended.err);
  REQUIRE(extended.code == 0);
  CHECK(work.has("run/stages/reward_safety3"));
  CHECK_FALSE(work.has("run/stages/reward_helpfulness3"));
  CHECK(json_in(work, "run/summary.json")["models"].size() == 6);

  // An earlier day, a batch without a version and a file twice: refused before anything is done.
  own["data"]["sources"][3]["date"] = "2022-12-31";
  work.write("bad.json", own.dump());
  CHECK(work.run({"run", "bad.json", "--out", "run"}).says("is older than batch 1"));
  own["data"]["sources"][3]["path"] = "gone*.jsonl";
  own["data"]["sources"][3]["date"] = "";
  work.write("bad.json", own.dump());
  const auto gone = work.run({"run", "bad.json", "--out", "run"});
  CHECK((gone.code == 2 && gone.says("data.sources[3]: gone*.jsonl matches no file")));
}

TEST_CASE("keel run: without SFT and with reward models of one's own a run begins with rejection sampling", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  REQUIRE(work.run({"run", "files.json", "--out", "before", "--until", "reward_safety"}).code == 0);
  Json own = json_in(work, "files.json");
  own["name"] = "own";
  own["model"] = "before/stages/sft/current";
  own["sft"] = nullptr;
  own["reward"]["first"] = {{"helpfulness", "before/stages/reward_helpfulness/current"}, {"safety", "before/stages/reward_safety/current"}};
  own["data"] = {{"source", "files"},  {"held_out", 0.4},         {"max_tokens", 80},
                 {"train_prompts", 8}, {"validation_prompts", 2}, {"test_prompts", 8}};
  std::string prompts;
  for (int i = 0; i < 30; ++i)
    prompts += Json{{"prompt", fmt::format("who sells bread in harbour {}?", i)}, {"hazard", i % 3 == 0}}.dump() + "\n";
  work.write("prompts.jsonl", prompts);
  own["data"]["sources"] = {{{"path", "prompts.jsonl"}, {"kind", "prompts"}}};
  work.write("own.json", own.dump());
  const auto run = work.run({"run", "own.json", "--out", "run"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  const Json summary = json_in(work, "run/summary.json");
  std::vector<std::string> models;
  for (const auto& model : summary["models"])
    models.push_back(model["name"]);
  CHECK(models == std::vector<std::string>{"sft", "rs1", "ppo"});  // the start checkpoint has SFT's place
  CHECK(summary["reward_models"].empty());                         // there are no pairs to measure them on
  CHECK(test::read_text(work / "run/stages/reward_safety/current/model.safetensors") ==
        test::read_text(work / "before/stages/reward_safety/current/model.safetensors"));
  CHECK_FALSE(work.has("run/stages/sft"));

  // With pairs for V1 a new model is trained and compared with one's own.
  own["data"]["sources"].push_back({{"path", "helpful.jsonl"}, {"kind", "helpfulness"}});
  work.write("own.json", own.dump());
  const auto trained = work.run({"run", "own.json", "--out", "run", "--until", "reward_safety"});
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(json_in(work, "run/stages/reward_helpfulness/current/evaluation.json").contains("previous_accuracy"));

  const auto refused = [&](const std::vector<std::string>& settings, const std::string& words) {
    std::vector<std::string> arguments = {"run", "own.json", "--out", "other"};
    for (const auto& setting : settings)
      arguments.insert(arguments.end(), {"--set", setting});
    const auto outcome = work.run(arguments);
    INFO(outcome.err);
    CHECK((outcome.code == 2 && outcome.says(words)));
  };
  refused({"reward.first.safety="}, "V1 needs safety pairs");
  refused({"reward.first.safety=model"}, "reward.first.safety: model is a language model, without the scalar head");
  refused({"sft.epochs=1"}, "sft.epochs: a run with \"sft\": null does not read it");
  refused({"sft.enabled=true", R"(data.sources=[{"path": "prompts.jsonl", "kind": "prompts"}])"},
          "SFT has neither demonstrations nor pairs");
  refused({R"(data.sources=[{"path": "prompts.jsonl", "kind": "prompts"}, {"path": "helpful.jsonl", "kind": "demonstrations"}])"},
          "without SFT nothing reads demonstrations");
  refused({R"(data.sources=[{"path": "prompts.jsonl", "kind": "pretraining"}])"}, "pretraining text is for PPO's ptx alone");
  refused({"data.gold_share=0.3"}, "gold reward models need pairs of both kinds");
  refused({"chat_format=llama4"}, "chat_format: \"llama4\" is none of llama2");
}

}  // namespace keel::pipelines::cli
