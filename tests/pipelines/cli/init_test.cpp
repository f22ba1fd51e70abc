// keel init: a recipe that runs unedited.
#include <fmt/format.h>

#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines {

using Catch::Matchers::ContainsSubstring;
using test::Outcome;
using test::Workplace;
using Json = nlohmann::json;

TEST_CASE("keel init: the recipe of a model and three data files runs as it is", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);  // a model with a context of its own, helpful.jsonl and harmless.jsonl
  std::string prompts;
  for (int i = 0; i < 60; ++i)
    prompts += Json{{"prompt", fmt::format("who sells bread in harbour {}?", i)}, {"hazard", i % 3 == 0}}.dump() + "\n";
  work.write("prompts.jsonl", prompts);
  const Outcome written = work.run(
      {"init", "--model", "model", "--data", "helpful.jsonl", "--data", "harmless.jsonl", "--data", "prompts.jsonl", "--out", "own.json"});
  INFO(written.err);
  REQUIRE(written.code == 0);
  const std::string text = work.read("own.json");
  // A third of 60 prompts: 1.5 times the 5 to test and twice 2 to validate, each of which takes half of both kinds.
  CHECK_THAT(text, ContainsSubstring("\"held_out\": 0.23,") &&
                       ContainsSubstring("\"train_prompts\": 30, \"validation_prompts\": 2, \"test_prompts\": 5,"));
  CHECK_THAT(text, ContainsSubstring("\"path\": \"helpful.jsonl\", \"kind\": \"helpfulness\"") &&
                       ContainsSubstring("\"path\": \"harmless.jsonl\", \"kind\": \"safety\"") &&
                       ContainsSubstring("\"path\": \"prompts.jsonl\", \"kind\": \"prompts\"") && ContainsSubstring("// 60 rows") &&
                       ContainsSubstring("\"name\": \"own\"") && !ContainsSubstring("STANDS IN") && ContainsSubstring("this machine has"));
  const Outcome run = work.run({"run", "own.json", "--out", "run"});
  INFO(run.err);
  CHECK(run.code == 0);
  CHECK(work.has("run/models/ppo/model.safetensors"));

  const Outcome again = work.run({"init", "--model", "model", "--data", "helpful.jsonl", "--out", "own.json"});
  CHECK((again.code == 2 && again.says("own.json exists")));
  const Outcome alone = work.run({"init", "--model", "model", "--data", "helpful.jsonl"});  // to standard output
  CHECK(alone.code == 0);
  CHECK_THAT(alone.out, ContainsSubstring("\"kind\": \"safety\"") && ContainsSubstring("STANDS IN: no file of safety pairs was given"));
  const Outcome without = work.run({"init", "--model", "model", "--data", "prompts.jsonl"});
  CHECK((without.code == 2 && without.says("none of the files holds preference pairs")));
  std::filesystem::create_directory(work / "shared safely");
  work.write("shared safely/helpful.jsonl", work.read("helpful.jsonl"));
  const Outcome named =
      work.run({"init", "--model", "model", "--data", "shared safely/helpful.jsonl"});  // a folder's name says nothing of a file
  CHECK_THAT(named.out, ContainsSubstring("\"path\": \"shared safely/helpful.jsonl\", \"kind\": \"helpfulness\"}"));
  work.write("ratings.jsonl", R"({"rating": 3, "person": "a", "prompt": "p", "response": "r"})");
  const Outcome ratings = work.run({"init", "--model", "model", "--data", "ratings.jsonl"});
  CHECK((ratings.code == 2 && ratings.says("which no recipe learns from")));
  work.write("broken.jsonl", "{\"prompt\": 3}\n");
  CHECK(work.run({"init", "--model", "model", "--data", "broken.jsonl"}).code == 3);
  const Outcome gone = work.run({"init", "--model", "model", "--data", "gone/*.jsonl"});
  CHECK((gone.code == 2 && gone.says("--data: gone/*.jsonl matches no file")));
  const Outcome twice = work.run({"init", "--model", "model", "--data", "helpful.jsonl", "--data", "./helpful.jsonl"});
  CHECK((twice.code == 2 && twice.says("both hold")));
  const Outcome hub = work.run({"init", "--model", "Someone/Model", "--data", "helpful.jsonl"});
  CHECK((hub.code == 2 && hub.says("Someone/Model is no folder") && hub.says("hf download")));
}

TEST_CASE("keel init, keel run: a table and a model without a chat format are refused at once, with what to do", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  work.write("prompts.csv", "prompt,hazard\nwho?,true\n");
  const Outcome table = work.run({"init", "--model", "model", "--data", "helpful.jsonl", "--data", "prompts.csv", "--out", "own.json"});
  CHECK((table.code == 2 && table.says("prompts.csv is a table") && table.says("pandas.read_csv")));
  CHECK_FALSE(work.has("own.json"));
  work.write("tagged.jsonl", R"({"prompt": "say <|im_end|>", "hazard": false})");
  const Outcome tagged =
      work.run({"init", "--model", "model", "--chat", "chatml", "--data", "helpful.jsonl", "--data", "tagged.jsonl", "--out", "own.json"});
  INFO(tagged.err);
  CHECK(tagged.code != 0);
  CHECK_FALSE(work.has("own.json"));
  std::filesystem::copy(work / "model", work / "bare");
  std::filesystem::remove(work / "bare/keel.json");
  const Outcome bare = work.run({"run", "files.json", "--out", "run", "--set", "model=bare"});
  CHECK((bare.code == 2 && bare.says("bare has no chat format") && bare.says("\"chat_format\": llama2, ")));
  CHECK_FALSE(work.has("run"));
  const Outcome named =
      work.run({"run", "files.json", "--out", "run", "--set", "model=bare", "--set", "chat_format=hh", "--until", "data"});
  INFO(named.err);
  CHECK(named.code == 0);
}

TEST_CASE("keel run: data.allow_tags carries a tag through every stage, PPO's pretraining mix too; contradictions are told",
          "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  std::string prompts, demonstrations;
  for (int i = 0; i < 30; ++i) {
    prompts += Json{{"prompt", fmt::format("who sells [INST] {}?", i)}, {"hazard", i % 2 == 0}}.dump() + "\n";
    demonstrations += Json{{"prompt", fmt::format("say {}", i)}, {"completion", "[INST] the baker."}}.dump() + "\n";
  }
  prompts += Json{{"prompt", "who sells [INST] 1?"}, {"hazard", true}}.dump() + "\n";
  work.write("prompts.jsonl", prompts);
  work.write("demonstrations.jsonl", demonstrations);
  work.write("public.jsonl", work.read("helpful.jsonl"));
  Json recipe = test::json_in(work, "files.json");
  recipe["data"].erase("max_demonstrations");
  recipe["data"]["allow_tags"] = true;
  recipe["data"]["sources"] = {{{"path", "prompts.jsonl"}, {"kind", "prompts"}},
                               {{"path", "demonstrations.jsonl"}, {"kind", "demonstrations"}},
                               {{"path", "public.jsonl"}, {"kind", "public"}}};
  recipe["ppo"]["ptx"] = {{"weight", 1}};
  recipe["chat_format"] = "llama2";
  work.write("tags.json", recipe.dump());
  const Outcome kept = work.run({"run", "tags.json", "--out", "run", "--until", "ppo"});
  INFO(kept.err);
  CHECK(kept.code == 0);
  CHECK(kept.says("prompts with \"hazard\" both true and false in the sources: 1"));
  CHECK(kept.says("40 pairs stand among those of the kinds helpfulness and public"));
  const Outcome refused = work.run({"run", "tags.json", "--out", "other", "--set", "data.allow_tags=false"});
  CHECK((refused.code == 3 && refused.says("prompts.jsonl:1: the user turn holds a tag of the chat format llama2")));
}

}  // namespace keel::pipelines
