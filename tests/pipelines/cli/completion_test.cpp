// The script of keel completion bash, run by bash itself.
#include <set>

#include "pipelines/cli/keel_binary.h"

using keel::test::Workplace;

namespace {

// What bash offers for the last of these words.
std::set<std::string> offered(const Workplace& work, const std::vector<std::string>& words) {
  std::string line;
  for (const auto& word : words)
    line += " '" + word + "'";
  work.write("ask.sh", "source keel.bash\nCOMP_WORDS=(" + line +
                           ")\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n_keel\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n");
  REQUIRE(std::system(("cd '" + work.path().string() + "' && bash ask.sh > offered.txt 2> errors.txt").c_str()) == 0);
  CHECK(work.read("errors.txt").empty());
  std::set<std::string> result;
  std::istringstream text(work.read("offered.txt"));
  for (std::string each; std::getline(text, each);)
    if (!each.empty()) result.insert(each);
  return result;
}

}  // namespace

TEST_CASE("keel completion: bash completes commands, options, their values, files and settings", "[cli]") {
  using Words = std::set<std::string>;
  const Workplace work;
  const auto script = work.run({"completion", "bash"});
  REQUIRE(script.code == 0);
  work.write("keel.bash", script.out);
  CHECK(offered(work, {"keel", "ru"}) == Words{"run"});
  CHECK(offered(work, {"keel", "re"}) == Words{"report", "reward", "refusal", "redteam", "rejection"});
  CHECK(offered(work, {"keel", "reward", ""}) == Words{"train", "eval", "stats"});
  CHECK(offered(work, {"keel", "reward", "train", "--held"}) == Words{"--held-out"});
  CHECK(offered(work, {"keel", "run", "--unt"}) == Words{"--until"});
  CHECK(offered(work, {"keel", "--threads", "2", "run", "--sch"}) == Words{"--schema"});
  CHECK(offered(work, {"keel", "convert", "--format", ""}) == Words{"hf", "meta", "adapter", "gguf", "llama2c"});
  CHECK(offered(work, {"keel", "convert", "--format", "=", "g"}) == Words{"gguf"});
  CHECK(offered(work, {"keel", "completion", ""}) == Words{"bash", "zsh", "fish"});
  CHECK(offered(work, {"keel", "chat", "--log-level", "w"}) == Words{"warn"});
  CHECK(offered(work, {"keel", "run", "--set", "ppo.kl.coef"}) == Words{"ppo.kl.coefficient="});
  CHECK(offered(work, {"keel", "sft", "--set", "schedule.learning"}) == Words{"schedule.learning_rate="});
  CHECK(offered(work, {"keel", "chat", "m"}) == Words{"model"});  // folders
  CHECK(offered(work, {"keel", "generate", "--model", "r"}) == Words{"reward"});
  CHECK(offered(work, {"keel", "inspect", "ti"}) == Words{"tiny.bin"});
  CHECK(offered(work, {"keel", "chat", "--seed", ""}).empty());
  CHECK(offered(work, {"keel", "status", "run", "--watch", "--log-l"}) == Words{"--log-level"});  // its value may be left out
  const auto others = work.run_all({{"completion", "zsh"}, {"completion", "fish"}, {"completion", "tcsh"}});
  CHECK(others[0].out.starts_with("#compdef keel\n"));
  CHECK(others[1].out.find("complete -c keel -n '__keel_at keel run' -l until -x") != std::string::npos);
  CHECK(others[2].code == 2);
}
