// Sweeps: the cells of a file, and the comparison of their results.
#include "pipelines/ablation/sweep.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "pipelines/ablation/sweep_results.h"
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::ablation {
namespace {

using Catch::Matchers::ContainsSubstring;

struct Place {
  test::TemporaryFolder folder;
  Place() { test::write_text(folder / "tiny.json", test::kTinyRecipe); }
  Sweep read(nlohmann::json sweep) const {
    sweep.update({{"name", "s"}, {"base", (folder / "tiny.json").string()}});
    if (!sweep.contains("measures")) sweep["measures"] = {"ppo.gold_safety"};
    test::write_text(folder / "sweep.json", sweep.dump());
    return read_sweep(folder / "sweep.json");
  }
  std::vector<std::string> problems(const nlohmann::json& sweep) const {
    try {
      read(sweep);
    } catch (const core::ConfigError& error) {
      return error.problems;
    }
    return {};
  }
};

}  // namespace

TEST_CASE("sweep: grid x pairs less what is excluded, each cell once, the baseline found by some of its settings", "[pipelines]") {
  const Place place;
  const Sweep sweep = place.read({{"grid", {{"ppo.kl.coefficient", {0, 0.1}}, {"ppo.gae.lambda", {0.9, 1}}}},
                                  {"paired", {{{"reward.loss.margin", "none"}}, {{"reward.loss.margin", "large"}, {"reward.epochs", 2}}}},
                                  {"exclude", {{{"ppo.kl.coefficient", 0}, {"reward.loss.margin", "large"}}}},
                                  {"baseline", {{"ppo.kl.coefficient", 0.1}, {"reward.loss.margin", "none"}, {"ppo.gae.lambda", 0.9}}},
                                  {"seeds", {1, 2}}});
  CHECK(sweep.cells.size() == 6);  // 2 x 2 x 2 less 2
  CHECK(label_of(sweep.cells[sweep.baseline]) == "ppo.gae.lambda=0.9, ppo.kl.coefficient=0.1, reward.loss.margin=none");
  CHECK(sweep.keys.size() == 4);
  CHECK(place.read({{"grid", {{"ppo.epochs", {1, 1}}}}}).cells.size() == 1);
  CHECK(place.read(nlohmann::json::object()).cells.size() == 1);  // seeds alone
  const Sweep early = place.read({{"paired", {{{"reward.epochs", 2}, {"until", "reward_safety"}}, nlohmann::json::object()}}});
  REQUIRE(early.cells.size() == 2);
  CHECK((until_of(early, early.cells[0]) == "reward_safety" && ends_early(early.cells[0])));
  CHECK((until_of(early, early.cells[1]) == "report" && !ends_early(early.cells[1])));
  CHECK((recipe_of(early, early.cells[0]).reward.epochs == 2 && recipe_of(early, early.cells[1]).reward.epochs == 1));
}

TEST_CASE("sweep: every problem of a file at once, and cells that the recipe refuses", "[pipelines]") {
  const Place place;
  const auto problems = place.problems({{"grid", {{"ppo.epochs", 2}}},
                                        {"seeds", {1, 1}},
                                        {"baselin", nlohmann::json::object()},
                                        {"measures", {"accuracy"}},
                                        {"baseline", {{"ppo.epochs", 3}}}});
  REQUIRE(problems.size() >= 5);
  std::string all;
  for (const auto& problem : problems)
    all += problem + "\n";
  for (const char* text :
       {"grid.ppo.epochs must be a list", "distinct integers", "did you mean \"baseline\"", "MODEL.MEASURE", "none of the cells"})
    CHECK_THAT(all, ContainsSubstring(text));
  CHECK_THROWS_AS(place.read({{"grid", {{"ppo.kl.coeficient", {1}}}}}), core::ConfigError);
  const auto first = [&](const nlohmann::json& file) { return place.problems(file).at(0); };
  CHECK_THAT(first({{"grid", {{"seed", {1, 2}}}}}), ContainsSubstring("no setting of a cell"));
  CHECK(place.problems({{"grid", {{"seed", {1, 2}}}}, {"baseline", nlohmann::json::object()}}).size() == 1);  // "baseline" is known
  CHECK_THAT(first({{"grid", {{"ppo.epochs", {1, 2}}}}, {"paired", {{{"ppo.epochs", 3}}}}}), ContainsSubstring("stands twice"));
  CHECK_THAT(first({{"grid", {{"ppo.epochs", {1, 2}}}}, {"exclude", {{{"ppo.epochs", 3}}}}}), ContainsSubstring("fits no cell"));
  CHECK_THAT(first({{"measures", {"pppo.gold_safety"}}}), ContainsSubstring("no cell has a model or a stage"));
  CHECK_THROWS_AS(place.read({{"until", "rewards"}}), core::UsageError);
}

TEST_CASE("sweep: distributions are of a model's numbers, of all prompts or of one kind; what no cell has is refused", "[pipelines]") {
  const Place place;
  const auto found =
      place.read({{"distributions", {"sft.reward_safety.hazard", "ppo.gold_helpfulness.harmless", "base.kl_to_sft"}}}).distributions;
  REQUIRE(found.size() == 3);
  CHECK((found[0].name == "sft.reward_safety.hazard" && found[0].model == "sft" && found[0].member == "reward_safety"));
  CHECK((found[0].hazard == true && found[1].hazard == false && !found[2].hazard));
  CHECK((found[2].model == "base" && found[2].member == "kl_to_sft"));
  const auto first = [&](const nlohmann::json& name, const std::string& until = "report") {
    const auto problems = place.problems({{"distributions", {name}}, {"until", until}});
    return problems.empty() ? "no problem" : problems.at(0);
  };
  for (const nlohmann::json& name :
       {nlohmann::json("sft"), nlohmann::json("sft.reward_safety.hazards"), nlohmann::json("sft.reward_safety."), nlohmann::json(7)})
    CHECK_THAT(first(name), ContainsSubstring("MODEL.MEMBER.harmless, got " + name.dump()));
  CHECK_THAT(first("sft.reward_saftey"), ContainsSubstring("\"sft.reward_saftey\"") && ContainsSubstring("reward_safety"));
  CHECK_THAT(first("sft.text"), ContainsSubstring("no cell evaluates"));
  CHECK_THAT(first("sft.reward_general"), ContainsSubstring("no cell evaluates"));  // the recipe has no such reward model
  CHECK_THAT(first("rs5.reward_safety"), ContainsSubstring("no cell evaluates"));
  CHECK_THAT(first("sft.reward_safety", "reward_safety"), ContainsSubstring("no cell evaluates"));  // it ends before
}

TEST_CASE("sweep results: a distribution has the answers of one model to one kind of prompt, one group a cell over all seeds",
          "[pipelines]") {
  const test::TemporaryFolder folder;
  test::write_text(
      folder / "answers.jsonl",
      "{\"model\":\"sft\",\"hazard\":true,\"reward_safety\":0.25}\n{\"model\":\"sft\",\"hazard\":false,\"reward_safety\":0.5}\n"
      "{\"model\":\"ppo\",\"hazard\":true,\"reward_safety\":0.75}\n{\"model\":\"sft\",\"hazard\":true,\"reward_safety\":1}\n");
  const std::map<std::string, std::filesystem::path> stages = {{"evaluation", folder.path()}};
  Distribution wanted{.name = "d", .model = "sft", .member = "reward_safety", .hazard = true};
  CHECK(values_of(stages, wanted) == std::vector<double>{0.25, 1});
  wanted.hazard = false;
  CHECK(values_of(stages, wanted) == std::vector<double>{0.5});
  wanted.hazard.reset();
  CHECK(values_of(stages, wanted) == std::vector<double>{0.25, 0.5, 1});
  CHECK(values_of({}, wanted).empty());  // a cell that ends before the evaluation
  wanted.member = "reward_general";
  CHECK(values_of(stages, wanted).empty());

  const Sweep sweep{.name = "s",
                    .base = "r.json",
                    .seeds = {1, 2},
                    .keys = {"a", "b"},
                    .cells = {{{"a", "1"}, {"b", "2"}}, {{"a", "1"}, {"b", "3"}}},
                    .places = {},
                    .measures = {"m.v"},
                    .distributions = {{.name = "d", .model = "sft", .member = "reward_safety", .hazard = true}}};
  const std::vector<CellRun> runs = {{.cell = 1, .seed = 1, .failure = {}, .measures = {}, .distributions = {{"d", {1}}, {"e", {9}}}},
                                     {.cell = 0, .seed = 1, .failure = {}, .measures = {}, .distributions = {{"d", {2, 3}}}},
                                     {.cell = 1, .seed = 2, .failure = {}, .measures = {}, .distributions = {{"d", {4}}}},
                                     {.cell = 0, .seed = 2, .failure = "diverged", .measures = {}}};
  const auto report = report_of(sweep, compare_cells(sweep, runs), runs);
  const auto section =
      std::find_if(report.sections.begin(), report.sections.end(), [](const auto& s) { return s.heading == "Distributions"; });
  REQUIRE(section != report.sections.end());
  REQUIRE(section->blocks.size() == 1);
  const auto& plot = std::get<evaluation::HistogramPlot>(section->blocks[0]);
  REQUIRE(plot.groups.size() == 2);
  CHECK((plot.groups[0].name == "b=2" && plot.groups[1].name == "b=3"));  // "a" does not vary
  CHECK(plot.groups[0].values == std::vector<double>{2, 3});
  CHECK(plot.groups[1].values == std::vector<double>{1, 4});
  CHECK(plot.x_label == "reward_safety, answers to hazards");
}

TEST_CASE("sweep results: means, Student's t over seeds and paired differences; failures are shown, never dropped", "[pipelines]") {
  Sweep sweep{.name = "s",
              .base = "r.json",
              .seeds = {1, 2, 3},
              .keys = {"a"},
              .cells = {{{"a", "x,\"y\""}}, {{"a", "2"}}},
              .places = {},
              .measures = {"m.v"}};
  std::vector<CellRun> runs;
  const double values[2][3] = {{1, 2, 4}, {2, 3, 5}};
  for (size_t cell = 0; cell < 2; ++cell)
    for (int64_t seed = 1; seed <= 3; ++seed)
      runs.push_back({.cell = cell, .seed = seed, .failure = {}, .measures = {{"m.v", values[cell][seed - 1]}}});
  const auto table = compare_cells(sweep, runs);
  REQUIRE(table.size() == 2);
  CHECK(table[0].value.mean == Catch::Approx(7. / 3));
  CHECK(table[0].value.low == Catch::Approx(-1.461249700263));  // scipy.stats.t.interval
  CHECK(table[0].deviation == Catch::Approx(1.5275252317));
  CHECK(table[1].difference.mean == Catch::Approx(1));  // seed by seed, so without spread
  CHECK((table[1].difference.low == Catch::Approx(1) && table[1].difference.high == Catch::Approx(1)));
  const auto report = report_of(sweep, table, runs);
  REQUIRE(report.summary.rows.size() == 2);
  CHECK(report.summary.rows[0][1].text == "2.333 [-1.461, 6.128]");
  CHECK(report.summary.rows[1][1].text == "3.333 [-0.461, 7.128]; +1.000 [+1.000, +1.000]");
  REQUIRE(report.sections.size() == 2);  // the one key, and all cells
  CHECK((report.sections[0].heading == "a" && report.sections[0].text == "All other settings as in the baseline."));
  const std::string csv = csv_of(sweep, table, runs);
  CHECK_THAT(csv, ContainsSubstring("a,measure,n,mean,sd,ci_lo,ci_hi,delta,delta_lo,delta_hi,status\r\n\"x,\"\"y\"\"\",m.v,3,"));

  runs[3].failure = "diverged";
  runs[3].measures.clear();
  const auto failed = compare_cells(sweep, runs);
  CHECK((failed[1].seeds == 2 && std::isnan(failed[1].value.low)));
  CHECK_THAT(markdown_of(sweep, failed, runs), ContainsSubstring("1 failed"));
  CHECK_THAT(csv_of(sweep, failed, runs), ContainsSubstring("\r\n2,m.v,2,4,"));
}

TEST_CASE("sweep results: a measure is found in the evaluation, in a stage's own or as its last metric", "[pipelines]") {
  const test::TemporaryFolder folder;
  for (const char* stage : {"evaluation", "reward", "ppo"})
    std::filesystem::create_directories(folder / stage);
  test::write_text(folder / "evaluation/evaluation.json", R"({"models": [{"name": "ppo", "gold": {"mean": 0.5, "low": 0, "high": 1}}]})");
  test::write_text(folder / "reward/evaluation.json",
                   R"({"accuracy": {"mean": 0.7}, "by_strength": [{"strength": 4, "mean": 0.9}], "ece": 0.1})");
  test::write_text(folder / "ppo/metrics.jsonl", "{\"step\":1,\"objective/kl\":2}\n{\"step\":2,\"objective/kl\":3}\n");
  const std::map<std::string, std::filesystem::path> stages = {
      {"evaluation", folder / "evaluation"}, {"reward", folder / "reward"}, {"ppo", folder / "ppo"}};
  CHECK(measure_of(stages, "ppo.gold") == 0.5);
  CHECK(measure_of(stages, "reward.accuracy") == 0.7);
  CHECK(measure_of(stages, "reward.by_strength.4") == 0.9);
  CHECK(measure_of(stages, "reward.ece") == 0.1);
  CHECK(measure_of(stages, "ppo.objective/kl") == 3);
  CHECK_FALSE(measure_of(stages, "reward.accurcy"));
  CHECK_FALSE(measure_of(stages, "sft.loss"));
}

TEST_CASE("keel ablate: cells share what they have in common, a second call does nothing, a cell that fails is shown", "[pipelines]") {
  const test::Workplace work;
  work.write("tiny.json", test::kTinyRecipe);
  work.write("sweep.json", R"({"name": "margins", "base": "tiny.json", "seeds": [1], "until": "reward_safety",
                               "grid": {"reward.loss.margin": ["none", "large"]}, "baseline": {"reward.loss.margin": "none"},
                               "measures": ["reward_safety.accuracy"]})");
  const std::vector<std::string> command = {"ablate", "sweep.json", "--out", "swept"};
  const auto first = work.run(command);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.out, ContainsSubstring("reward.loss.margin=none (baseline)"));
  const std::string events = work.read("swept/run/events.jsonl");
  const auto started = [&](const std::string& stage) {
    size_t count = 0;
    for (size_t at = 0; (at = events.find("\"event\":\"started\"", at)) != std::string::npos; ++at) {
      const std::string line = events.substr(events.rfind('\n', at) + 1, events.find('\n', at) - events.rfind('\n', at));
      count += line.find("\"stage\":\"" + stage + "\"") != std::string::npos ? 1 : 0;
    }
    return count;
  };
  CHECK(started("sft") == 1);
  CHECK(started("reward_safety") == 2);
  for (const char* file : {"swept/table.csv", "swept/table.md", "swept/report.html", "swept/sweep.lock.json"})
    CHECK(work.has(file));
  CHECK(work.run(command).out == first.out);
  CHECK(work.read("swept/run/events.jsonl") == events);

  work.write("failing.json", R"({"name": "rates", "base": "tiny.json", "seeds": [1], "until": "sft", "measures": ["sft.loss"],
                                 "paired": [{"sft.schedule.learning_rate": 1e-4}, {"sft.schedule.learning_rate": 1e30},
                                            {"sft.schedule.learning_rate": 1e-3, "until": "base"}]})");
  const auto failing = work.run({"ablate", "failing.json", "--out", "failing"});
  CHECK(failing.code == 0);
  CHECK_THAT(failing.out, ContainsSubstring("1 failed") && ContainsSubstring("done"));
  CHECK_THAT(failing.out, ContainsSubstring("learning_rate=0.001, until=base | - | 0 | done |"));  // it has no sft to measure

  test::write_files_recipe(work);
  work.write("gone.json", R"({"name": "files", "base": "files.json", "seeds": [1], "until": "data", "measures": ["data.rows"],
                              "grid": {"data.helpful": ["helpful.jsonl", "gone.jsonl"]}})");
  const auto gone = work.run({"ablate", "gone.json", "--out", "gone"});
  CHECK((gone.code == 2 && gone.says("gone.jsonl") && !work.has("gone")));  // before the first cell
  CHECK(work.run({"ablate", "sweep.json", "--out", "model"}).code == 2);
}

TEST_CASE("keel ablate: the report draws a named distribution, n being the held-out prompts of its kind over all seeds", "[pipelines]") {
  const test::Workplace work;
  work.write("tiny.json", test::kTinyRecipe);
  work.write("sweep.json", R"({"name": "d", "base": "tiny.json", "seeds": [1, 2], "until": "evaluation", "grid": {"versions": [["reward"]]},
                               "measures": ["sft.harmless_reward_helpfulness"], "distributions": ["sft.reward_safety.hazard"]})");
  const auto swept = work.run({"ablate", "sweep.json", "--out", "swept"});
  INFO(swept.err);
  REQUIRE(swept.code == 0);
  const std::string report = work.read("swept/report.html");
  CHECK_THAT(report, ContainsSubstring("sft.reward_safety.hazard") && ContainsSubstring("n = 12"));  // test_hazard is 6
  CHECK(nlohmann::json::parse(work.read("swept/sweep.lock.json"))["distributions"] == nlohmann::json{"sft.reward_safety.hazard"});
}

TEST_CASE("keel ablate: --set says where model and data lie, and nothing that the sweep's file says", "[pipelines]") {
  const test::Workplace work;
  test::write_files_recipe(work);
  work.write("sweep.json", R"({"name": "files", "base": "files.json", "seeds": [1], "until": "data", "measures": ["data.rows"],
                               "grid": {"data.max_pairs": [4, 5]}})");
  std::filesystem::rename(work / "helpful.jsonl", work / "moved.jsonl");
  const auto sweep = [&](const std::string& setting) { return work.run({"ablate", "sweep.json", "--out", "swept", "--set", setting}); };
  CHECK(work.run({"ablate", "sweep.json", "--out", "swept"}).says("helpful.jsonl"));
  const auto moved = sweep("data.helpful=moved.jsonl");
  CHECK((work.has("swept/run/stages/data/current/manifest.json") && !moved.says("does not exist")));
  const auto setting = sweep("ppo.epochs=2");
  CHECK((setting.code == 2 && setting.says("--set ppo.epochs=2") && setting.says("data.helpful")));
  const auto threads = sweep("threads=2");
  CHECK((threads.code == 2 && threads.says("--set threads=2")));
  work.write("varied.json", R"({"name": "varied", "base": "files.json", "until": "data", "measures": ["data.rows"],
                                "grid": {"data.helpful": ["moved.jsonl"]}})");
  const auto twice = work.run({"ablate", "varied.json", "--out", "varied", "--set", "data.helpful=moved.jsonl"});
  CHECK((twice.code == 2 && twice.says("the sweep varies data.helpful itself")));
}

TEST_CASE("keel ablate: stopped or killed in the middle and given again, it ends in the tables of an undisturbed sweep", "[pipelines]") {
  const test::Workplace work;
  work.write("tiny.json", test::kTinyRecipe);
  work.write("sweep.json", R"({"name": "rates", "base": "tiny.json", "until": "sft", "measures": ["sft.loss"],
                               "grid": {"sft.schedule.learning_rate": [1e-4, 1e-3, 1e-2], "sft.steps": [100]}})");
  const auto command = [](const std::string& out) { return std::vector<std::string>{"ablate", "sweep.json", "--out", out}; };
  using Counts = std::map<std::pair<std::string, std::string>, int>;  // of events, by stage and key
  const auto counted = [&](const std::string& out, const std::string& event) {
    Counts counts;
    std::istringstream events(work.read(out + "/run/events.jsonl"));
    for (std::string line; std::getline(events, line);)
      if (const auto row = nlohmann::json::parse(line); row["event"] == event) ++counts[{row["stage"], row["key"]}];
    return counts;
  };
  const auto whole = work.run(command("whole"));
  REQUIRE(whole.code == 0);
  const Counts once = counted("whole", "started");
  CHECK(once.size() == 6);  // corpus, data, base, and sft of three cells
  std::string second;       // the key of the second cell's sft
  std::istringstream events(work.read("whole/run/events.jsonl"));
  int cells = 0;
  for (std::string line; std::getline(events, line);)
    if (const auto row = nlohmann::json::parse(line); row["event"] == "started" && row["stage"] == "sft" && ++cells == 2)
      second = row["key"];

  for (const int signal : {SIGTERM, SIGKILL}) {
    const std::string out = "ended_by_" + std::to_string(signal);
    INFO(out);
    const auto partial = work / (out + "/run/stages/sft/" + second.substr(0, 12) + ".partial");
    // On a busy machine the second cell may finish before the signal comes: then try again.
    test::Outcome ended;
    for (int attempt = 0; attempt < 5 && !std::filesystem::exists(partial); ++attempt) {
      std::filesystem::remove_all(work / out);
      test::Process sweep(work.path(), command(out));
      sweep.signal_once_grown(partial / "metrics.jsonl", signal);
      ended = sweep.wait();
    }
    REQUIRE(std::filesystem::exists(partial));
    CHECK(ended.code == (signal == SIGTERM ? 75 : -SIGKILL));
    CHECK_THAT(work.read(out + "/table.csv"), ContainsSubstring(",0 of 1 done"));

    const auto resumed = work.run(command(out));
    CHECK(resumed.code == 0);
    CHECK(resumed.out == whole.out);
    for (const char* file : {"/table.csv", "/table.md", "/report.html"})
      CHECK(work.read(out + file) == work.read(std::string("whole") + file));
    CHECK(counted(out, "started") == once);  // no finished stage started again
    CHECK(counted(out, "resumed") == Counts{{{"sft", second}, 1}});
    CHECK(counted(out, "committed") == once);
  }
}

}  // namespace keel::pipelines::ablation
