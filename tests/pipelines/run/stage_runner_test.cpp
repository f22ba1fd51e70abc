#include "pipelines/run/stage_runner.h"

#include <chrono>

#include "pipelines/run/manifest.h"
#include "pipelines/run/toy_run.h"

namespace keel::pipelines::run {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using keel::test::read_text;
using keel::test::run_toy;
using keel::test::take_trace;
using keel::test::Toy;
using keel::test::toy_options;
using keel::test::toy_stages;
using Lines = std::vector<std::string>;

const Lines kEverything = {"numbers", "sums 0", "sums 1", "sums 2", "sums 3", "summary"};

struct ToyRun {
  test::TemporaryFolder folder;
  fs::path root = folder / "run";
  Toy toy;
  ToyRun() { toy.trace = folder / "trace"; }
  RunDirectory directory() const { return RunDirectory(root); }
  std::string output(const std::string& stage, const std::string& file) const { return read_text(*directory().current(stage) / file); }
  Lines run(const RunOptions& options = toy_options()) const {
    run_toy(root, toy, options);
    return take_trace(toy);
  }
  std::vector<StageStatus> plan(const RunOptions& options = toy_options()) const {
    return pipelines::run::plan(directory(), toy_stages(toy), options);
  }
  std::optional<int> required_threads() const { return pipelines::run::required_threads(directory(), toy_stages(toy), toy_options()); }
};

// Stops `sums` before its third number.
void interrupt_sums(ToyRun& run, const RunOptions& options = toy_options()) {
  run.toy.interrupt_at = 3;
  CHECK_THROWS_AS(run_toy(run.root, run.toy, options), core::Interrupted);
  run.toy.interrupt_at = 0;
}

Lines states(const std::vector<StageStatus>& statuses) {
  Lines lines;
  for (const auto& status : statuses) {
    lines.push_back(status.name + " " + std::string(state_name(status.state)) + (status.reason.empty() ? "" : ": " + status.reason));
  }
  return lines;
}

}  // namespace

TEST_CASE("stage runner: a run computes each stage once, a second run nothing", "[pipelines]") {
  ToyRun run;
  CHECK(run.run() == kEverything);
  // seed 17: 17, 18, 21, 26; their sum 82 times 3
  CHECK(run.output("summary", "summary.txt") == "toy: 246\n");
  CHECK_FALSE(fs::exists(*run.directory().current("sums") / "ckpt"));
  CHECK_FALSE(fs::exists(*run.directory().current("sums") / "attempt.json"));
  CHECK_FALSE(fs::exists(*run.directory().current("sums") / ".half-written.tmp"));
  const auto journal = read_text(run.root / "events.jsonl");
  const auto statuses = run_toy(run.root, run.toy);
  CHECK(take_trace(run.toy).empty());
  CHECK(read_text(run.root / "events.jsonl") == journal);
  CHECK(states(statuses) == Lines{"numbers done", "sums done", "summary done"});
  CHECK(statuses[2].folder == run.directory().current("summary"));
}

TEST_CASE("stage runner: the manifest says what went in and how it came about", "[pipelines]") {
  ToyRun run;
  run.run();
  const auto numbers = read_manifest(*run.directory().current("numbers")), sums = read_manifest(*run.directory().current("sums"));
  REQUIRE(sums.has_value());
  CHECK(sums->stage == "sums");
  CHECK(sums->key == core::sha256(sums->material));
  CHECK(sums->inputs.at("numbers").key == numbers->key);
  CHECK(sums->inputs.at("numbers").digest == content_digest(numbers->outputs));
  REQUIRE(sums->outputs.size() == 1);
  CHECK(sums->outputs[0].path == "sums.txt");
  CHECK(sums->outputs[0].sha256 == core::sha256("246\n"));
  CHECK(sums->threads == 2);
  CHECK(sums->attempts == 1);
  CHECK(sums->versions.at("keel") == "0.1.0");
  const auto material = core::parse_json(sums->material, "");
  CHECK(material.at("seed") == 17);
  CHECK(material.at("config").at("factor") == 3);
  CHECK(material.dump().find("threads") == std::string::npos);
  CHECK(material.dump().find(run.root.string()) == std::string::npos);
}

TEST_CASE("stage runner: a changed setting recomputes what depends on it, and nothing when the bytes come out the same", "[pipelines]") {
  ToyRun run;
  run.run();
  run.toy.title = "total";
  CHECK(states(run.plan()) == Lines{"numbers done", "sums done", "summary stale: config.title: \"toy\" -> \"total\""});
  CHECK(run.run() == Lines{"summary"});
  CHECK(run.output("summary", "summary.txt") == "total: 246\n");

  run.toy.factor = 5;
  CHECK(states(run.plan()) == Lines{"numbers done", "sums stale: config.factor: 3 -> 5", "summary pending: waits for sums"});
  CHECK(run.run() == Lines{"sums 0", "sums 1", "sums 2", "sums 3", "summary"});

  run.toy.modulus = 2000;  // another key, equal numbers: the later stages stay
  CHECK(run.run() == Lines{"numbers"});
  CHECK(run.output("summary", "summary.txt") == "total: 410\n");

  run.toy.factor = 3;
  run.toy.title = "toy";
  CHECK(run.run().empty());  // back to results that are still there
  CHECK(run.output("summary", "summary.txt") == "toy: 246\n");

  RunOptions options = toy_options();
  options.seed = 18;
  CHECK(run.run(options) == kEverything);
}

TEST_CASE("stage runner: a run may be moved and goes on at any thread count", "[pipelines]") {
  ToyRun run;
  run.run();
  fs::rename(run.root, run.folder / "moved");
  run.root = run.folder / "moved";
  RunOptions options = toy_options();
  options.threads = 7;
  CHECK(run.run(options).empty());
}

TEST_CASE("stage runner: an interrupted stage goes on from its checkpoint", "[pipelines]") {
  ToyRun run;
  interrupt_sums(run);
  CHECK(take_trace(run.toy) == Lines{"numbers", "sums 0", "sums 1"});
  const auto statuses = run.plan();
  CHECK(statuses[1].state == StageState::partial);
  CHECK_THAT(statuses[1].reason, ContainsSubstring("with 2 threads"));
  CHECK(run.run() == Lines{"sums 2", "sums 3", "summary"});
  CHECK(run.output("summary", "summary.txt") == "toy: 246\n");
  CHECK(read_manifest(*run.directory().current("sums"))->attempts == 2);

  Lines journal;
  for (const auto& event : test::events_in(run.root))
    journal.push_back(event.at("stage").get<std::string>() + " " + event.at("event").get<std::string>());
  CHECK(journal == Lines{"numbers started", "numbers committed", "sums started", "sums interrupted", "sums resumed", "sums committed",
                         "summary started", "summary committed"});
}

TEST_CASE("stage runner: a signal between stages stops the run before the next one", "[pipelines]") {
  ToyRun run;
  auto stages = toy_stages(run.toy);
  stages[0].run = [inner = stages[0].run](const StageContext& context) {
    inner(context);
    core::request_interrupt();
  };
  RunDirectory directory = run.directory();
  directory.begin({"toy", "0.1.0", "{}"});
  CHECK_THROWS_AS(execute(directory, stages, toy_options()), core::Interrupted);
  core::clear_interrupt();
  CHECK(states(run.plan())[0] == "numbers done");
  CHECK(take_trace(run.toy) == Lines{"numbers"});
}

TEST_CASE("stage runner: half-done work insists on its thread count, finished work does not", "[pipelines]") {
  ToyRun run;
  interrupt_sums(run);
  take_trace(run.toy);
  CHECK(run.required_threads() == 2);
  RunOptions options = toy_options();
  options.threads = 1;
  CHECK_THROWS_AS(run.run(options), core::UsageError);
  const fs::path partial = run.directory().partial_folder("sums", run.plan()[1].key);
  CHECK_THROWS_WITH(run.run(options), ContainsSubstring("--threads 2") && ContainsSubstring("delete " + partial.string()));
  CHECK(take_trace(run.toy).empty());

  SECTION("it is refused before other stages are computed") {
    auto stages = toy_stages(run.toy);
    stages.insert(stages.begin(), stages[0]);
    stages[0].name = "long_work";
    RunDirectory directory = run.directory();
    directory.begin({"toy", "0.1.0", "{}"});
    CHECK_THROWS_AS(execute(directory, stages, options), core::UsageError);
    CHECK(take_trace(run.toy).empty());
  }
  SECTION("with its own count it goes on") {
    CHECK(run.run() == Lines{"sums 2", "sums 3", "summary"});
  }
  SECTION("deleted, it starts again with another") {
    fs::remove_all(partial);
    CHECK_FALSE(run.required_threads().has_value());
    CHECK(run.run(options) == Lines{"sums 0", "sums 1", "sums 2", "sums 3", "summary"});
  }
  SECTION("an attempt that has saved nothing insists on nothing, whatever it has logged") {
    fs::remove_all(partial / "ckpt");
    test::write_text(partial / "metrics.jsonl", "{}\n");
    CHECK_FALSE(run.required_threads().has_value());
    run.run(options);
    CHECK(read_manifest(*run.directory().current("sums"))->threads == 1);
  }
}

TEST_CASE("stage runner: half-done work insists on the program and the machine that began it, finished work does not", "[pipelines]") {
  const auto [name, before, now] = GENERATE(table<std::string, std::string, std::string>(
      {{"vector_level", "AVX512", "AVX2"}, {"arithmetic", "1", "2"}, {"torch", "2.10.0", "2.11.0"}}));
  ToyRun run;
  RunOptions wide = toy_options(), narrow = toy_options();
  wide.versions[name] = before;
  narrow.versions[name] = now;
  run.toy.interrupt_at = 3;
  CHECK_THROWS_AS(run.run(wide), core::Interrupted);
  run.toy.interrupt_at = 0;
  CHECK_THROWS_WITH(run.run(narrow), ContainsSubstring(name + ": \"" + before + "\" -> \"" + now + "\""));
  take_trace(run.toy);
  CHECK(run.run(wide) == Lines{"sums 2", "sums 3", "summary"});
  CHECK(run.run(narrow).empty());
}

TEST_CASE("stage runner: nothing is computed from an input whose bytes have changed", "[pipelines]") {
  ToyRun run;
  run.run();
  const fs::path file = *run.directory().current("sums") / "sums.txt";
  test::write_text(file, "247\n");  // of the same size as 246
  run.toy.title = "other";
  CHECK_THROWS_WITH(run.run(), ContainsSubstring(file.string()) && ContainsSubstring("SHA-256"));
  test::write_text(file, "246\n");
  CHECK(run.run() == Lines{"summary"});
}

TEST_CASE("stage runner: half-done work of another recipe stays until a newer commit of its stage", "[pipelines]") {
  ToyRun run;
  interrupt_sums(run);
  take_trace(run.toy);
  const fs::path partial = run.directory().partial_folder("sums", run.plan()[1].key);
  run.toy.factor = 5;
  RunOptions options = toy_options();
  options.threads = 1;  // the other recipe's half-done work does not matter
  options.until = "numbers";
  CHECK(run.run(options).empty());
  CHECK(fs::exists(partial / "ckpt" / "state"));
  options.until.clear();
  CHECK(run.run(options) == Lines{"sums 0", "sums 1", "sums 2", "sums 3", "summary"});
  CHECK_FALSE(fs::exists(partial));
}

TEST_CASE("stage runner: --until and --only select, and an early --only says what it waits for", "[pipelines]") {
  ToyRun run;
  RunOptions options = toy_options();
  options.only = "summary";
  CHECK_THROWS_AS(run.run(options), core::UsageError);
  CHECK_THROWS_WITH(run.run(options), "stage 'summary' waits for sums, which is not finished; run without --only first");
  options.only.clear();
  options.until = "sums";
  CHECK(run.run(options) == Lines{"numbers", "sums 0", "sums 1", "sums 2", "sums 3"});
  CHECK(states(run.plan()) == Lines{"numbers done", "sums done", "summary pending: never run"});
  CHECK(run.plan(options).size() == 2);
  options.until.clear();
  options.only = "summary";
  CHECK(run.run(options) == Lines{"summary"});
  options.until = "sums";
  CHECK_THROWS_AS(run.run(options), core::UsageError);  // both
}

TEST_CASE("stage runner: a plan creates nothing", "[pipelines]") {
  ToyRun run;
  CHECK(states(run.plan()) == Lines{"numbers pending: never run", "sums pending: waits for numbers", "summary pending: waits for sums"});
  CHECK_FALSE(fs::exists(run.root));
}

TEST_CASE("stage runner: a finished output that is missing, resized or changed is bad input with a remedy that works", "[pipelines]") {
  ToyRun run;
  run.run();
  const fs::path folder = *run.directory().current("numbers");
  const fs::path file = folder / "values" / "numbers.txt";
  RunOptions verify = toy_options();
  verify.check = OutputCheck::digests;
  CHECK(run.run(verify).empty());

  const auto written = fs::last_write_time(file);
  std::string bytes = read_text(file);
  bytes[0] = static_cast<char>(bytes[0] ^ 1);
  test::write_text(file, bytes);
  fs::last_write_time(file, fs::last_write_time(folder / "manifest.json") + std::chrono::seconds(1));
  CHECK_THROWS_WITH(run.run(), ContainsSubstring(file.string()) && ContainsSubstring("SHA-256"));
  fs::last_write_time(file, written);
  CHECK(run.run().empty());  // neither size nor time shows it
  CHECK_THROWS_AS(run.run(verify), core::DataError);
  CHECK_THROWS_WITH(run.plan(verify), ContainsSubstring(file.string()) && ContainsSubstring("SHA-256"));
  fs::resize_file(file, 3);
  CHECK_THROWS_AS(run.run(), core::DataError);
  fs::remove(file);
  CHECK_THROWS_WITH(run.run(), ContainsSubstring(file.string()) && ContainsSubstring("delete the folder " + folder.string()));
  CHECK(take_trace(run.toy).empty());
  fs::remove_all(folder);
  CHECK(run.run() == Lines{"numbers"});
  CHECK(read_text(file) == "17\n18\n21\n26\n");
}

TEST_CASE("stage runner: a stage without its manifest is no result", "[pipelines]") {
  ToyRun run;
  run.run();
  fs::remove(*run.directory().current("summary") / "manifest.json");
  CHECK(run.run() == Lines{"summary"});
  CHECK(run.output("summary", "summary.txt") == "toy: 246\n");
}

TEST_CASE("stage runner: a result whose key is not that of its material is refused", "[pipelines]") {
  ToyRun run;
  run.run();
  const fs::path file = *run.directory().current("summary") / "manifest.json";
  std::string text = read_text(file);
  text[text.find(read_manifest(file.parent_path())->key) + 63] ^= 1;  // the folder's name holds the first 12 digits
  test::write_text(file, text);
  CHECK_THROWS_WITH(run.run(), ContainsSubstring("delete the folder " + file.parent_path().string()));
}

TEST_CASE("stage runner: a sound result of another key is not taken, though it lies where this one belongs", "[pipelines]") {
  ToyRun run;
  run.run();
  const fs::path folder = *run.directory().current("summary");
  const std::string key = read_manifest(folder)->key;
  const std::string title = run.toy.title;
  run.toy.title = "other";
  run.run();
  const std::string other = read_text(*run.directory().current("summary") / "manifest.json");
  run.toy.title = title;
  test::write_text(folder / "manifest.json", other);  // as if both keys began with the folder's 12 digits
  take_trace(run.toy);
  CHECK(run.run() == Lines{"summary"});
  CHECK(read_manifest(folder)->key == key);
}

TEST_CASE("stage runner: explain names every difference", "[pipelines]") {
  ToyRun run;
  const auto explained = [&](const std::string& stage) { return explain(run.directory(), toy_stages(run.toy), toy_options(), stage); };
  CHECK(explained("sums") == Lines{"pending: waits for numbers"});
  run.run();
  CHECK(explained("sums") == Lines{"done: the present recipe gives the key of " + run.directory().current("sums")->string()});
  run.toy.count = 5;
  run.toy.modulus = 500;
  run.toy.factor = 9;
  CHECK(explained("numbers") == Lines{"stale: config.count: 4 -> 5", "config.modulus: 1000 -> 500"});
  CHECK(explained("sums") ==
        Lines{"pending: waits for numbers", "config.factor: 3 -> 9", "input numbers is not known yet: that stage has to run first"});
  CHECK_THROWS_AS(explained("sum"), core::UsageError);
}

TEST_CASE("stage runner: what a stage throws is recorded and passed on unchanged, and its work stays", "[pipelines]") {
  ToyRun run;
  auto stages = toy_stages(run.toy);
  stages[1].run = [](const StageContext& context) {
    core::write_file(context.work / "saved.txt", "x");
    throw core::IoError("cannot write weights: no space left; 12 bytes are free");
  };
  RunDirectory directory = run.directory();
  directory.begin({"toy", "0.1.0", "{}"});
  CHECK_THROWS_AS(execute(directory, stages, toy_options()), core::IoError);
  CHECK_THROWS_WITH(execute(directory, stages, toy_options()), "cannot write weights: no space left; 12 bytes are free");
  const auto last = test::events_in(run.root).back();
  CHECK(last.at("event") == "failed");
  CHECK(last.at("stage") == "sums");
  CHECK(last.at("reason") == "cannot write weights: no space left; 12 bytes are free");
  CHECK(fs::exists(directory.partial_folder("sums", run.plan()[1].key) / "saved.txt"));
}

TEST_CASE("stage runner: an error comes through even where it cannot be recorded", "[pipelines]") {
  ToyRun run;
  auto stages = toy_stages(run.toy);
  stages[0].run = [](const StageContext& context) {
    fs::remove_all(context.work);
    throw core::DataError("pairs.jsonl", 12, "strength must be 1..4");
  };
  RunDirectory directory = run.directory();
  directory.begin({"toy", "0.1.0", "{}"});
  CHECK_THROWS_WITH(execute(directory, stages, toy_options()), "pairs.jsonl:12: strength must be 1..4");
}

TEST_CASE("stage runner: an error text that is no UTF-8 or very long does not hide the error", "[pipelines]") {
  ToyRun run;
  auto stages = toy_stages(run.toy);
  const std::string text = "bad name \xff" + std::string(5000, 'x');
  stages[0].run = [&](const StageContext&) { throw core::DataError("file", 3, text); };
  RunDirectory directory = run.directory();
  directory.begin({"toy", "0.1.0", "{}"});
  CHECK_THROWS_AS(execute(directory, stages, toy_options()), core::DataError);
  const auto reason = test::events_in(run.root).back().at("reason").get<std::string>();
  CHECK_THAT(reason, ContainsSubstring("file:3: bad name \xef\xbf\xbd"));  // U+FFFD
  CHECK(reason.size() < 1100);
}

}  // namespace keel::pipelines::run
