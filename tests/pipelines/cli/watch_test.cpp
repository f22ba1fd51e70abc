// keel status --watch.
#include <csignal>

#include "pipelines/cli/typed_process.h"

using Catch::Matchers::ContainsSubstring;
using keel::test::Process;
using keel::test::TypedProcess;
using keel::test::Workplace;

TEST_CASE("keel status --watch: waits for a run, tells its changes a line each, and ends with it", "[cli]") {
  const Workplace work;
  work.write("tiny.json", keel::test::kTinyRecipe);
  TypedProcess watch(work, {"status", "run", "--watch", "0.1"});
  REQUIRE(watch.printed("there is no run yet: waiting for it"));
  const auto run = work.run({"run", "tiny.json", "--out", "run", "--until", "sft", "--set", "sft.steps=600"});  // long enough to be seen
  INFO(run.err);
  REQUIRE(run.code == 0);
  const auto outcome = watch.end();
  INFO(outcome.out << outcome.err);
  CHECK(outcome.code == 0);
  CHECK_THAT(outcome.out, ContainsSubstring("Z sft done\n") && ContainsSubstring(" running\n") &&
                              ContainsSubstring("Z the run has ended: ") && ContainsSubstring("no process works on it; next is "));
  CHECK(outcome.out.find('\x1b') == std::string::npos);

  // Not all of it is done, and nobody works on it: it waits, and Ctrl-C is how it ends.
  TypedProcess waiting(work, {"status", "run", "--watch"});
  REQUIRE(waiting.printed("no process works on it"));
  waiting.signal(SIGINT);
  CHECK(waiting.end().code == 0);

  const auto facts = work.run({"inspect", "run", "--json"}).rows().at(0);
  CHECK(facts["kind"] == "run of a recipe");
  CHECK(facts["recipe"] == "tiny");
  CHECK(facts["versions"] == nlohmann::json{"ppo"});
  CHECK(facts["running"] == false);
  REQUIRE(facts["models"].size() == 2);
  CHECK(facts["models"][1]["name"] == "sft");
  CHECK(facts["models"][1]["path"] == "run/stages/sft/current");
  CHECK_THAT(work.run({"inspect", "run"}).out,
             ContainsSubstring("tiny, by keel ") && ContainsSubstring("sft (sft): run/stages/sft/current"));

  const auto refused =
      work.run_all({{"status", "run", "--watch", "run"}, {"status", "run", "--watch", "--verify"}, {"status", "model", "--watch"}});
  CHECK((refused[0].code == 2 && refused[0].says("the folder stands before it")));
  CHECK(refused[1].code == 2);
  CHECK((refused[2].code == 2 && refused[2].says("no run of keel")));
}

TEST_CASE("keel status: the progress of the running stage, on a terminal drawn again in its place", "[cli]") {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) SKIP("no pseudo-terminals here");
  const std::string name = ptsname(master);
  const Workplace work;
  work.write("tiny.json", keel::test::kTinyRecipe);
  // Long enough to be looked at: thousands of steps.
  Process run(work.path(), {"run", "tiny.json", "--out", "run", "--until", "base", "--set", "pretrain.tokens=50000000"});
  REQUIRE(([&] {
    for (int i = 0; i < 6000; ++i) {
      if (work.has("run/run.json") && work.run({"status", "run"}).out.find("steps/s") != std::string::npos) return true;
      usleep(20'000);
    }
    return false;
  })());
  CHECK_THAT(work.run({"status", "run"}).out, ContainsSubstring("a process is working on it: pretrain: ") && ContainsSubstring(" left"));
  const pid_t watch = fork();
  if (watch == 0) {
    const int terminal = open(name.c_str(), O_RDWR | O_NOCTTY);
    if (chdir(work.path().c_str()) == 0 && dup2(terminal, STDOUT_FILENO) >= 0)
      execl(KEEL_BINARY, "keel", "status", "run", "--watch", "0.1", "--threads", "1", nullptr);
    _exit(126);
  }
  std::string screen;
  for (int i = 0; i < 6000 && screen.find("A\r") == std::string::npos; ++i) {  // the cursor goes up: a second table
    char bytes[4096];
    const ssize_t got = read(master, bytes, sizeof bytes);
    if (got > 0) screen.append(bytes, static_cast<size_t>(got));
  }
  CHECK_THAT(screen, ContainsSubstring("base                 running") && ContainsSubstring("steps/s") && ContainsSubstring("\x1b["));
  kill(watch, SIGINT);
  int status = 0;
  waitpid(watch, &status, 0);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  close(master);
  CHECK(run.end(SIGTERM).code == 75);
}
