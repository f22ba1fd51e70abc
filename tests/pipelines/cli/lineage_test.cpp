// Where results come from, and which can be pruned.
#include "pipelines/run/lineage.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "pipelines/cli/keel_binary.h"
#include "pipelines/run/prune.h"
#include "pipelines/run/toy_run.h"

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using keel::test::run_toy;
using keel::test::Toy;

std::vector<std::string> stages_of(const std::vector<run::Artefact>& artefacts) {
  std::vector<std::string> names;
  for (const auto& artefact : artefacts)
    names.push_back(artefact.manifest.stage);
  return names;
}

struct Place {
  test::TemporaryFolder folder;
  fs::path root = folder / "run";
  Toy toy;
  Place() { toy.trace = folder / "trace"; }
  void run() const { run_toy(root, toy); }
  size_t results(const std::string& stage) const {
    return static_cast<size_t>(std::count_if(fs::directory_iterator(root / "stages" / stage), fs::directory_iterator(),
                                             [](const auto& entry) { return !entry.is_symlink(); }));
  }

  // The toy with a final report on two models; a higher measure of the last means a lower one of the first. Returns the folders of its
  // results.
  std::set<fs::path> run_measured(int count, double gold) const {
    Toy measured = toy;
    measured.count = count;
    auto stages = test::toy_stages(measured);
    stages[2].name = "report";
    stages[2].config = nlohmann::json{{"gold", gold}}.dump();
    stages[2].run = [measured, gold](const run::StageContext& context) {
      measured.note("report");
      const auto model = [](const char* name, double mean) {
        return nlohmann::json{{"name", name}, {"gold_helpfulness", {{"mean", mean}, {"low", mean}, {"high", mean}}}};
      };
      const nlohmann::json summary = {{"models", {model("sft", 1 - gold), model("ppo", gold), {{"name", "other"}}}},
                                      {"reward_models", nlohmann::json::array()}};
      test::write_text(context.work / "summary.json", summary.dump());
    };
    run::RunDirectory run(root);
    run.begin({"toy", "0.1.0", nlohmann::json{{"toy", {{"count", count}, {"gold", gold}}}}.dump()});
    std::set<fs::path> folders;
    for (const auto& status : execute(run, stages, test::toy_options()))
      folders.insert(status.folder);
    test::write_text(root / "summary.json", test::read_text(root / "stages" / "report" / "current" / "summary.json"));
    return folders;
  }
};

}  // namespace

TEST_CASE("lineage: a file names the steps that made it, inputs first, and a changed byte is noticed", "[pipelines]") {
  const Place place;
  place.run();
  const fs::path file = place.root / "stages" / "summary" / "current" / "summary.txt";
  const run::Artefact summary = run::artefact_of(file);
  CHECK(stages_of(ancestry(summary)) == std::vector<std::string>{"numbers", "sums", "summary"});
  CHECK(summary.manifest.inputs.at("sums").key == ancestry(summary)[1].manifest.key);
  CHECK(stages_of(ancestry(run::artefact_of(place.root / "stages" / "sums" / "current"))) == std::vector<std::string>{"numbers", "sums"});

  test::write_text(fs::canonical(file), "toy: 247\n");
  CHECK_THROWS_WITH(run::artefact_of(file), ContainsSubstring("was changed after stage 'summary' made it"));
  CHECK_THROWS_AS(run::artefact_of(file.parent_path()), core::DataError);  // whichever way it is named
  test::write_text(fs::canonical(file.parent_path()) / "other.txt", "x");
  CHECK_THROWS_AS(run::artefact_of(file.parent_path() / "other.txt"), core::DataError);
  CHECK_THROWS_AS(run::artefact_of(place.folder / "nothing"), core::UsageError);
  CHECK_THROWS_AS(run::artefact_of(place.toy.trace), core::UsageError);
}

TEST_CASE("keel lineage: a JSON line for each step, of a file and of a whole run, never into a result", "[pipelines]") {
  const Place place;
  place.run_measured(4, 0.5);
  const auto lineage = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {"lineage"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return test::Process(place.folder.path(), command).wait();
  };
  const auto whole = lineage({"run"});
  REQUIRE(whole.code == 0);
  const auto steps = whole.rows();
  REQUIRE(steps.size() == 3);
  CHECK((steps[0]["stage"] == "numbers" && steps[0]["inputs"].empty() && steps[0]["seed"] == test::toy_options().seed));
  CHECK((steps[1]["stage"] == "sums" && steps[1]["inputs"]["numbers"]["digest"] == steps[0]["digest"]));
  CHECK((steps[2]["stage"] == "report" && steps[2]["config"]["gold"] == 0.5 && steps[2]["outputs"].contains("summary.json")));
  CHECK(lineage({"run/stages/report/current/summary.json", "--out", "steps.jsonl"}).code == 0);
  CHECK(test::read_text(place.folder / "steps.jsonl") == whole.out);
  const auto refused = lineage({"run", "--out", "run/stages/report/current/summary.json"});
  CHECK((refused.code == 2 && refused.says("lies in the finished result")));
  CHECK(lineage({"trace"}).code == 2);
}

TEST_CASE("keel diff: settings, what first differs in each stage's key, and measures of two runs", "[pipelines]") {
  const Place one, other;
  one.run_measured(4, 0.5);
  other.run_measured(4, 0.9);
  const auto diff = [&](const fs::path& second) { return test::Process(one.folder.path(), {"diff", "run", second.string()}).wait(); };
  const auto gold = diff(other.root);
  INFO(gold.err);
  REQUIRE(gold.code == 0);
  for (const char* line : {"settings\n  toy.gold: 0.5 -> 0.9\nstages\n", "\n  report                 config.gold: 0.5 -> 0.9\n",
                           "\nmeasures\n  ppo              gold_helpfulness           0.500 [0.500, 0.500]     0.900 [0.900, 0.900]\n"})
    CHECK_THAT(gold.out, ContainsSubstring(line));
  CHECK_THAT(gold.out, ContainsSubstring("  numbers                same outputs ") && !ContainsSubstring("count"));
  other.run_measured(5, 0.5);
  const auto count = diff(other.root);
  CHECK_THAT(count.out, ContainsSubstring("settings\n  toy.count: 4 -> 5\n") &&
                            ContainsSubstring("\n  numbers                config.count: 4 -> 5\n") &&
                            ContainsSubstring("\n  sums                   input numbers changed"));
  CHECK_THAT(diff(one.root).out, !ContainsSubstring("->"));
  const auto missing = diff(one.folder / "nowhere");
  CHECK((missing.code == 2 && missing.says("holds no run")));
}

TEST_CASE("prune: results in use, the newest ones and all they were made from stay", "[pipelines]") {
  Place place;
  place.run();
  place.toy.title = "second";  // another summary of the same sums
  place.run();
  place.toy.count = 5;  // everything anew
  place.run();
  REQUIRE((place.results("numbers") == 2 && place.results("sums") == 2 && place.results("summary") == 3));

  run::RunDirectory run(place.root);
  CHECK(prune(run, {.keep_last = 3, .keep_best = {}, .dry_run = false}).empty());
  CHECK(prune(run, {.keep_last = 2, .keep_best = {}, .dry_run = true}).size() <= 1);  // finished in one second, any of three may be newest
  CHECK(prune(run, {.keep_last = 0, .keep_best = {}, .dry_run = true}).size() == 4);
  CHECK(place.results("summary") == 3);
  CHECK_THROWS_AS(prune(run, {.keep_last = 0, .keep_best = "gold_helpfulness", .dry_run = true}), core::UsageError);  // no report
  const fs::path stage = place.root / "stages" / "summary";
  fs::create_directories(stage / "0123456789ab.partial");
  test::write_text(stage / "0123456789ab.partial" / "attempt.json", "{}");
  fs::create_directories(stage / ".trash-0123456789ab");
  const auto removed = prune(run, {.keep_last = 0, .keep_best = {}, .dry_run = false});
  CHECK(removed.size() == 4);
  CHECK(fs::exists(stage / "0123456789ab.partial" / "attempt.json"));  // an interrupted stage can continue
  CHECK_FALSE(fs::exists(stage / ".trash-0123456789ab"));
  fs::remove_all(stage / "0123456789ab.partial");
  CHECK((place.results("numbers") == 1 && place.results("sums") == 1 && place.results("summary") == 1));
  take_trace(place.toy);
  place.run();  // results in use are complete
  CHECK_FALSE(fs::exists(place.toy.trace));
}

TEST_CASE("prune: going back to an older recipe makes its results the ones in use", "[pipelines]") {
  Place place;
  place.run();
  place.toy.count = 5;
  place.run();
  place.toy.count = 4;
  place.run();
  run::RunDirectory run(place.root);
  prune(run, {.keep_last = 0, .keep_best = {}, .dry_run = false});
  take_trace(place.toy);
  place.run();
  CHECK_FALSE(fs::exists(place.toy.trace));
}

TEST_CASE("keel prune --keep-best: the report whose last model has most of a measure stays with all that made it", "[pipelines]") {
  const Place place;
  const auto poor = place.run_measured(4, 0.5), best = place.run_measured(5, 0.9), replaced = place.run_measured(6, 0.2),
             in_use = place.run_measured(6, 0.3);  // from the previous run's numbers and sums
  std::set<fs::path> unneeded = poor;
  std::set_difference(replaced.begin(), replaced.end(), in_use.begin(), in_use.end(), std::inserter(unneeded, unneeded.end()));
  REQUIRE((poor.size() == 3 && best.size() == 3 && unneeded.size() == 4));

  const auto pruned = [&](const std::string& says, const std::vector<std::string>& options) {
    std::vector<std::string> command = {"prune", "run", "--keep-last", "0", "--keep-best", "gold_helpfulness"};
    command.insert(command.end(), options.begin(), options.end());
    const auto outcome = test::Process(place.folder.path(), command).wait();
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
    std::set<fs::path> folders;
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line);) {
      REQUIRE(line.starts_with(says));
      folders.insert(place.folder / line.substr(says.size()));
    }
    return folders;
  };
  const auto all_there = [](const std::set<fs::path>& folders) {
    return std::all_of(folders.begin(), folders.end(), [](const fs::path& folder) { return fs::exists(folder / "manifest.json"); });
  };
  CHECK(pruned("would remove ", {"--dry-run"}) == unneeded);
  CHECK((all_there(unneeded) && all_there(best) && all_there(in_use)));
  CHECK(pruned("removed ", {}) == unneeded);
  CHECK(std::none_of(unneeded.begin(), unneeded.end(), [](const fs::path& folder) { return fs::exists(folder); }));
  CHECK((all_there(best) && all_there(in_use)));
  CHECK(pruned("removed ", {}).empty());

  take_trace(place.toy);
  CHECK(place.run_measured(5, 0.9) == best);  // nothing of it is missing
  CHECK_FALSE(fs::exists(place.toy.trace));
  const auto unknown = test::Process(place.folder.path(), {"prune", "run", "--keep-best", "gold_helpfulnes"}).wait();
  CHECK(unknown.code == 2);
  CHECK(unknown.says("no finished report measures \"gold_helpfulnes\""));
}

}  // namespace keel::pipelines::cli
