// Running a part of a recipe, and a recipe on preference files.
#include "pipelines/cli/keel_binary.h"

#include <map>
#include <set>

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using test::json_in;
using test::kTinyRecipe;
using test::Outcome;
using test::rows_in;
using test::Workplace;
using Json = nlohmann::json;

}  // namespace

TEST_CASE("keel run: --dry-run, --until and --only do what they say; --config goes over the recipe; the schema names every field",
          "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", kTinyRecipe);
  work.write("overlay.json", R"({"seed": 5, "pretrain": {"tokens": 1000} /* fewer */})");
  work.write("bad.json", R"({"sed": 5})");
  const auto first = work.run_all({{"run", "tiny.json", "--out", "dry", "--dry-run"},
                                   {"run", "tiny.json", "--out", "early", "--only", "sft"},
                                   {"run", "--schema"},
                                   {"run", "tiny.json", "--out", "bad", "--config", "bad.json"},
                                   {"run", "tiny.json", "--out", "run", "--config", "overlay.json", "--set", "seed=7", "--until", "data"}});
  CHECK(first[0].code == 0);
  CHECK_THAT(first[0].out, ContainsSubstring("data                 pending") && ContainsSubstring("report               pending"));
  CHECK_FALSE(work.has("dry"));
  CHECK(first[1].code == 2);
  CHECK(first[1].says("data"));  // which sft waits for
  const Json schema = Json::parse(first[2].out);
  CHECK(schema["type"] == "object");
  CHECK(schema["properties"]["ppo"]["properties"]["kl"]["properties"].contains("coefficient"));
  CHECK(first[3].code == 2);
  CHECK(first[3].says("bad.json: unknown key \"sed\"; did you mean \"seed\""));
  CHECK_FALSE((work.has("bad") || work.has("early/stages")));
  INFO(first[4].err);
  REQUIRE(first[4].code == 0);
  const Json config = json_in(work, "run/run.json")["config"];
  CHECK(config["seed"] == 7);
  CHECK(config["pretrain"]["tokens"] == 1000);
  CHECK(config["sft"]["steps"] == 2);

  const Outcome base = work.run({"run", "tiny.json", "--out", "run", "--config", "overlay.json", "--set", "seed=7", "--only", "base"});
  REQUIRE(base.code == 0);
  CHECK(work.has("run/stages/base/current/model.safetensors"));
  CHECK(json_in(work, "run/stages/base/current/counts.json").contains("corpus.jsonl"));
  CHECK_FALSE((work.has("run/stages/sft") || work.has("run/report.html")));
  const auto later = work.run_all({{"status", "run"},
                                   {"explain", "run", "base", "--recipe", "tiny.json", "--set", "seed=7"},
                                   {"explain", "run", "base", "--config", "overlay.json", "--set", "seed=7"},
                                   {"report", "run"},
                                   {"explain", "run", "base", "--set", "versions=[]"},
                                   {"explain", "run", "base", "--set", "ppo.lora.alpha=3"},
                                   {"explain", "run", "base", "--seed", "8"}});
  CHECK_THAT(later[0].out, ContainsSubstring("base                 done") && ContainsSubstring("sft                  pending"));
  CHECK_THAT(later[1].out, ContainsSubstring("config.pretrain.tokens: 1000 -> 2000"));
  CHECK(later[2].code == 0);
  CHECK_THAT(later[2].out, !ContainsSubstring("config."));
  CHECK(later[3].code == 2);
  CHECK(later[3].says("no report yet"));
  CHECK((later[4].code == 2 && later[4].says("versions must name at least one")));  // as keel run says
  CHECK((later[5].code == 2 && later[5].says("ppo.lora.alpha")));
  CHECK_THAT(later[6].out, ContainsSubstring("seed: 7 -> 8"));
}

TEST_CASE("keel run: a recipe on preference files goes from a checkpoint to the report", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  const Outcome first = work.run({"run", "files.json", "--out", "run"});
  INFO(first.err);
  REQUIRE(first.code == 0);
  const Json counts = json_in(work, "run/stages/data/current/counts.json");
  CHECK(counts["helpfulness"]["kept"] == 40);
  CHECK(counts["safety"]["dropped"] == Json{{"unsafe_chosen", 1}});
  CHECK(counts["safety"]["train"].get<int>() + counts["safety"]["test"].get<int>() == 40);
  const Json summary = json_in(work, "run/summary.json");
  const std::vector<std::string> names = {"base", "sft", "rs1", "ppo"};
  REQUIRE(summary["models"].size() == names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    const Json& model = summary["models"][i];
    CHECK(model["name"] == names[i]);
    CHECK(model["reward_safety"]["mean"].is_number());
    CHECK(model.contains("reward_win_rate_vs_sft") == (names[i] != "sft"));
    for (const char* measure : {"gold_helpfulness", "gold_safety", "violation_rate", "win_rate_vs_sft"})
      CHECK_FALSE(model.contains(measure));                                                                  // nobody knows the truth here
    CHECK((model["refusal_rate"]["mean"].is_number() && model["hazard_refusal_rate"]["mean"].is_number()));  // by the phrase rules
  }
  CHECK(summary["reward_models"].size() == 2);
  CHECK_FALSE((work.has("run/models/base") || work.has("run/stages/preferences")));
  CHECK(work.has("run/models/ppo/model.safetensors"));

  const std::string events = work.read("run/events.jsonl"), report = work.read("run/report.html");
  fs::rename(work / "helpful.jsonl", work / "moved.jsonl");
  fs::remove(work / "run/report.html");
  const auto again = work.run_all({{"run", "files.json", "--out", "run", "--set", "data.helpful=moved.jsonl"}});
  CHECK(again[0].code == 0);
  CHECK(again[0].out == first.out);
  CHECK(work.read("run/events.jsonl") == events);        // content counts, not times
  const std::string record = work.read("run/run.json");  // of what has begun: a command that is refused does not change it
  const auto early =
      work.run({"run", "files.json", "--out", "run", "--set", "data.helpful=moved.jsonl", "--only", "rs1", "--set", "sft.steps=3"});
  CHECK((early.code == 2 && early.says("run without --only first") && work.read("run/run.json") == record));

  // `keel status` reads no checkpoint: it trusts digests.json while size, times and inode of a file are unchanged.
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));  // files that have just changed are not recorded
  REQUIRE(work.run({"run", "files.json", "--out", "run", "--set", "data.helpful=moved.jsonl"}).code == 0);
  Json noted = json_in(work, "run/digests.json");
  CHECK(noted.size() >= 5);  // both preference files, the model's weights, config and tokenizer
  for (auto& [path, entry] : noted.items())
    entry["sha256"] = "noted";
  work.write("run/digests.json", noted.dump());
  CHECK_THAT(work.run({"status", "run"}).out, ContainsSubstring("stale"));
  CHECK_THAT(work.run({"status", "run", "--verify"}).out, !ContainsSubstring("stale"));
  REQUIRE(work.run({"run", "files.json", "--out", "run", "--set", "data.helpful=moved.jsonl", "--verify"}).code == 0);
  CHECK_THAT(work.run({"status", "run"}).out, !ContainsSubstring("stale"));  // what --verify found has taken its place

  fs::remove(work / "run/report.html");
  fs::remove(work / "run/summary.json");
  const Outcome written = work.run({"report", "run"});
  CHECK(written.code == 0);
  CHECK_THAT(written.out, ContainsSubstring(first.out));
  CHECK(work.read("run/report.html") == report);
  CHECK(json_in(work, "run/summary.json") == summary);

  // A second version whose pairs people judge: the run waits for their file, then continues with their verdicts.
  const std::vector<std::string> more = {"run",   "files.json",
                                         "--out", "run",
                                         "--set", "data.helpful=moved.jsonl",
                                         "--set", "versions=[\"rejection\",\"rejection\"]",
                                         "--set", "preferences.annotator=people",
                                         "--set", "preferences.people=.",
                                         "--set", "preferences.later_pairs=20",
                                         "--set", "preferences.max_new_tokens=4"};
  const Outcome waiting = work.run(more);
  CHECK(waiting.code == 75);
  CHECK(waiting.says("people are asked"));
  CHECK(waiting.says("for_people.jsonl"));
  const auto compared = rows_in(work / "run/stages/comparisons2/current/comparisons.jsonl.gz");
  const auto for_people = rows_in(work / "run/stages/comparisons2/current/for_people.jsonl");
  REQUIRE(compared.size() == for_people.size());
  std::string filled;
  for (size_t i = 0; i < for_people.size(); ++i) {
    Json row = for_people[i];
    CHECK((compared[i]["answers"].size() == 2 && compared[i]["answers"][0]["model"] != compared[i]["answers"][1]["model"]));
    CHECK((row["answers"][1] == Json{{"text", compared[i]["answers"][1]["text"]}} && row["messages"] == compared[i]["messages"]));
    CHECK((row.dump().find("rs1") == std::string::npos && row.dump().find("sft") == std::string::npos && row.size() == 4));
    row["strength"] = 3;
    if (row["kind"] == "safety") row["a_safe"] = true;
    // Ann chooses a, bob too but for the first row, and cid judges the second alone.
    for (const std::string person : {"ann", "bob", "cid"}) {
      if (person == "cid" && i != 1) continue;
      row["person"] = person;
      row["choice"] = person == "bob" && i == 0 ? "b" : "a";
      filled += row.dump() + "\n";
    }
  }
  work.write("preferences2.jsonl", filled);
  const Outcome judged = work.run(more);
  INFO(judged.err);
  REQUIRE(judged.code == 0);
  const Json verdicts = json_in(work, "run/stages/preferences2/current/counts.json");
  CHECK((verdicts["annotated"] == 39 && verdicts["without_verdict"] == 1));
  CHECK((verdicts["people"]["persons"] == 3 && verdicts["people"]["verdicts"] == 81 && verdicts["people"]["ties"] == 1));
  // 39 of 40 comparisons agree. Chance: "a" has a share of (39 + 1/2) / 40 of the ratings, so 2 * 0.9875 * 0.0125.
  const Json& ac1 = verdicts["people"]["agreement"]["ac1"];
  CHECK_THAT(ac1["mean"].get<double>(), Catch::Matchers::WithinAbs((0.975 - 0.0246875) / (1 - 0.0246875), 1e-9));
  CHECK((ac1["comparisons"] == 40 && ac1["low"] < ac1["mean"] && verdicts["people"]["agreement"]["ac2"]["mean"] > 0.9));
  CHECK(judged.says("3 people gave 81 verdicts; 40 comparisons have several, of which 1 are ties"));
  CHECK_THAT(work.read("run/report.html"),
             ContainsSubstring("people: Gwet&#39;s AC1, choice") || ContainsSubstring("people: Gwet's AC1, choice"));
  // A conversation stays on its side of the split, shortened or not.
  std::map<std::string, std::set<std::string>> questions;
  for (const std::string side : {"train", "test"})
    for (const Json& row : rows_in(work / ("run/stages/data/current/helpfulness_" + side + ".jsonl")))
      questions[side].insert(row["prompt"].back()["content"]);
  for (const std::string side : {"train", "test"})
    for (const Json& row : rows_in(work / ("run/stages/preferences2/current/helpfulness_" + side + ".jsonl"))) {
      CHECK(row["prompt"].size() == 1);
      CHECK(questions[side].count(row["prompt"][0]["content"]) == 1);
    }
  CHECK(std::count_if(compared.begin(), compared.end(), [](const Json& row) { return row.contains("opening"); }) > 5);
  CHECK(json_in(work, "run/summary.json")["models"].size() == 4);
  CHECK_FALSE(fs::exists(work / "run/models/ppo"));  // the previous recipe's link
  fs::remove(work / "preferences2.jsonl");
  const std::string done = work.read("run/events.jsonl");
  CHECK(work.run(more).code == 0);
  CHECK(work.read("run/events.jsonl") == done);  // people's verdicts are part of the run

  const fs::path made = work / "run/stages/report/current/summary.json";
  test::write_text(made, work.read("run/summary.json") + " ");
  const Outcome damaged = work.run({"report", "run"});
  CHECK((damaged.code == 3 && damaged.says("summary.json")));
}

}  // namespace keel::pipelines::cli
