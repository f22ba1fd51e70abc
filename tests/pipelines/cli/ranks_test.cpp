// Commands that several processes compute together, as a launcher starts them.
#include <chrono>
#include <map>
#include <random>
#include <thread>

#include "pipelines/cli/keel_binary.h"
#include "support/test_ranks.h"

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::Process;
using test::Workplace;

void forget_place() {
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})
    unsetenv(name);
}

// The same command as ranks of each other.
class RankedKeel {
 public:
  RankedKeel(const Workplace& work, int ranks, const std::vector<std::string>& arguments) {
    const int port = test::free_port();
    for (int rank = 0; rank < ranks; ++rank) {
      test::set_place(rank, ranks, port);
      processes_.push_back(std::make_unique<Process>(work.path(), arguments));
    }
    forget_place();
  }
  void signal(int rank, int number) const { processes_.at(static_cast<size_t>(rank))->signal(number); }
  // What a launcher does with the others where one has died: those that never met would wait for minutes.
  void end_after(std::chrono::milliseconds pause) const {
    std::this_thread::sleep_for(pause);
    for (const auto& process : processes_)
      process->signal(SIGKILL);
  }
  std::vector<Outcome> wait() {
    std::vector<Outcome> outcomes;
    for (const auto& process : processes_)
      outcomes.push_back(process->wait());
    return outcomes;
  }

 private:
  std::vector<std::unique_ptr<Process>> processes_;
};

std::vector<Outcome> run_ranks(const Workplace& work, int ranks, const std::vector<std::string>& arguments) {
  return RankedKeel(work, ranks, arguments).wait();
}

// Two micro-batches in every step: their sum has the same bits in any order, so that any number of ranks ends in those of one with two
// threads. (One thread adds the second one's gradients to the first one's in place, number by number.)
std::string recipe_of_two_pieces() {
  std::string text = test::kTinyRecipe;
  const auto replace = [&](const std::string& before, const std::string& after) {
    REQUIRE(text.find(before) != std::string::npos);
    for (size_t at = 0; (at = text.find(before, at)) != std::string::npos; at += after.size())
      text.replace(at, before.size(), after);
  };
  replace("\"micro_rows\": 4", "\"micro_rows\": 2");
  replace("\"row_tokens\": 256, \"micro_rows\": 2", "\"row_tokens\": 256, \"micro_rows\": 1");
  replace("\"micro_pairs\": 8", "\"micro_pairs\": 4");
  replace("\"micro_answers\": 4", "\"micro_answers\": 2");
  return text;
}

// SHA-256 of every output that counts, by stage and name.
std::map<std::string, std::string> digests_of(const Workplace& work, const std::string& run) {
  std::map<std::string, std::string> digests;
  for (const auto& stage : fs::directory_iterator(work / run / "stages")) {
    if (stage.path().filename() == "report") continue;  // holds times
    const std::string name = stage.path().filename();
    const auto manifest = test::json_in(work, run + "/stages/" + name + "/current/manifest.json");
    for (const auto& output : manifest.at("outputs")) {
      const std::string path = output.at("path");
      if (path.find("tfevents") == std::string::npos && path.find("timings") == std::string::npos)
        digests[name + "/" + path] = output.at("sha256");
    }
  }
  return digests;
}

}  // namespace

TEST_CASE("ranks: a run killed and stopped at random, gone on with by other numbers of ranks, ends in the bits of one process",
          "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", recipe_of_two_pieces());
  REQUIRE(work.run({"run", "tiny.json", "--out", "alone", "--threads", "2"}).code == 0);
  const auto expected = digests_of(work, "alone");
  CHECK(expected.size() > 30);

  std::mt19937 random(7);
  int signals = 0, attempts = 0;
  for (int round = 0; signals < 20; ++round) {
    const std::string run = "together" + std::to_string(round);
    for (bool finished = false; !finished;) {
      REQUIRE(attempts < 100);
      const int ranks = std::vector<int>{2, 3, 1}[static_cast<size_t>(attempts++ % 3)];
      RankedKeel keel(work, ranks, {"run", "tiny.json", "--out", run, "--threads", "2"});
      if (signals < 20) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300 + random() % 900));
        const bool kill = signals++ % 3 != 2;
        keel.signal(static_cast<int>(random() % static_cast<unsigned>(ranks)), kill ? SIGKILL : SIGTERM);
        if (kill) keel.end_after(std::chrono::milliseconds(500));
      }
      const auto outcomes = keel.wait();
      finished = outcomes[0].code == 0;
      for (const Outcome& outcome : outcomes) {
        INFO(attempts << ": " << outcome.err);
        CHECK((outcome.code == 0 || outcome.code == -SIGKILL || outcome.code == -SIGTERM || outcome.code == 74 || outcome.code == 75));
      }
    }
    CHECK(digests_of(work, run) == expected);
    for (const auto& entry : fs::recursive_directory_iterator(work / run))
      CHECK(entry.path().filename().string().find(".rank") == std::string::npos);
  }
}

TEST_CASE("ranks: a step is computed by all, the first alone writes and prints", "[pipelines]") {
  const Workplace work;
  std::string rows;
  for (int i = 0; i < 12; ++i)
    rows += R"({"prompt":"who sells bread?","completion":"the baker )" + std::string(static_cast<size_t>(i % 5), 'o') + "\"}\n";
  work.write("data.jsonl", rows);
  const std::vector<std::string> command = {
      "sft",  "--model", "model", "--data", "data.jsonl", "--set", "steps=4", "--set", "batch.batch_rows=6", "--set", "batch.micro_rows=1",
      "--out"};
  const auto with_out = [&](const std::string& out) {
    std::vector<std::string> words = command;
    words.push_back(out);
    return words;
  };
  REQUIRE(work.run(with_out("one")).code == 0);
  const auto outcomes = run_ranks(work, 2, with_out("two"));
  CHECK((outcomes[0].code == 0 && outcomes[1].code == 0));
  CHECK(outcomes[0].says("sft: 2 ranks compute it together"));
  CHECK(outcomes[1].err.empty());
  CHECK_FALSE((work.has("two.partial") || work.has("two/ckpt")));
  const auto one = test::rows_in(work / "one/metrics.jsonl"), two = test::rows_in(work / "two/metrics.jsonl");
  REQUIRE(one.size() == two.size());
  for (size_t i = 0; i < one.size(); ++i)
    CHECK(two[i].at("loss").get<double>() == Catch::Approx(one[i].at("loss").get<double>()).epsilon(1e-5));
}

TEST_CASE("ranks: other settings or other data on one of them are refused before anything is computed", "[pipelines]") {
  const Workplace one, other;
  one.write("data.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\n");
  other.write("data.jsonl", "{\"prompt\":\"a\",\"completion\":\"c\"}\n");
  const std::vector<std::string> command = {"sft", "--model", "model", "--data", "data.jsonl", "--out", (one / "out").string()};
  const int port = test::free_port();
  std::vector<std::unique_ptr<Process>> ranks;
  for (const Workplace* work : {&one, &other}) {
    test::set_place(static_cast<int>(ranks.size()), 2, port);
    ranks.push_back(std::make_unique<Process>(work->path(), command));
  }
  forget_place();
  for (const auto& rank : ranks) {
    const Outcome outcome = rank->wait();
    CHECK(outcome.code == 2);
    CHECK(outcome.says("rank 0 computes 'sft' with other settings or input files than rank 1 has"));
  }
  CHECK_FALSE((one.has("out") || one.has("out.partial")));
}

TEST_CASE("ranks: while they wait for each other a signal ends them at once, and two of one number are told so", "[pipelines]") {
  const Workplace work;
  work.write("data.jsonl", "{\"prompt\":\"a\",\"completion\":\"b\"}\n");
  const std::vector<std::string> command = {"sft", "--model", "model", "--data", "data.jsonl", "--out", "out"};
  const int port = test::free_port();
  std::vector<std::unique_ptr<Process>> ranks;
  for (const int rank : {0, 1, 1}) {  // of 3: rank 2 never comes
    test::set_place(rank, 3, port);
    ranks.push_back(std::make_unique<Process>(work.path(), command));
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  }
  test::set_place(0, 3, port);
  Process second_first(work.path(), command);
  forget_place();
  const Outcome twice = ranks[2]->wait(), taken = second_first.wait();
  CHECK((twice.code == 2 && twice.says("two processes are rank 1 of 3")));
  CHECK((taken.code == 2 && taken.says("is taken") && taken.says("a second process with RANK=0")));
  for (const int rank : {1, 0}) {
    ranks[static_cast<size_t>(rank)]->signal(SIGTERM);
    const Outcome stopped = ranks[static_cast<size_t>(rank)]->wait();
    CHECK((stopped.code == 75 && stopped.says("stopped before all ranks had met")));
  }
}

TEST_CASE("ranks: bad input ends all with its text and code; what ranks cannot share is refused", "[pipelines]") {
  const Workplace work;
  work.write("bad.jsonl", "{\"prompt\":\"a\",\"completion\":5}\n");
  for (const Outcome& outcome : run_ranks(work, 2, {"sft", "--model", "model", "--data", "bad.jsonl", "--out", "tuned"})) {
    CHECK(outcome.code == 3);
    CHECK(outcome.says("bad.jsonl:1: \"completion\""));
  }
  CHECK_FALSE((work.has("tuned") || work.has("tuned.partial") || work.has(".tuned.partial.rank1")));
  work.write("prompts.jsonl", "{\"prompt\":\"a\"}\n");
  for (const Outcome& outcome : run_ranks(work, 2, {"generate", "--model", "model", "--prompts", "prompts.jsonl"})) {
    CHECK(outcome.code == 2);
    CHECK(outcome.says("not computed by several ranks, and the environment says that there are 2"));
  }
  setenv("RANK", "0", 1);
  setenv("WORLD_SIZE", "2", 1);
  const Outcome homeless = work.run({"sft", "--model", "model", "--data", "bad.jsonl", "--out", "tuned"});
  unsetenv("RANK");
  unsetenv("WORLD_SIZE");
  CHECK((homeless.code == 2 && homeless.says("export MASTER_ADDR")));
}

}  // namespace keel::pipelines::cli
