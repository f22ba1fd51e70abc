// keel plan: the cost of a recipe before it is run.
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::Outcome;
using test::Workplace;

}  // namespace

TEST_CASE("keel plan: memory and time of every stage that computes, here and on a named GPU", "[pipelines]") {
  const Workplace work;
  test::write_files_recipe(work);
  std::filesystem::create_directory(work / "temporary");
  setenv("TMPDIR", (work / "temporary").c_str(), 1);
  const Outcome here = work.run({"plan", "files.json"});
  INFO(here.err);
  REQUIRE(here.code == 0);
  for (const char* stage : {"\nsft ", "\nreward_helpfulness ", "\nreward_safety ", "\nrs1 ", "\nppo ", "\nevaluation ", "\nall "})
    CHECK_THAT(here.out, ContainsSubstring(stage));
  CHECK_THAT(here.out, ContainsSubstring("machine: this machine, 1 thread, fp32; training "));
  CHECK(std::filesystem::is_empty(work / "temporary"));
  unsetenv("TMPDIR");

  const Outcome there = work.run({"plan", "files.json", "--device", "h100"});
  CHECK(there.code == 0);
  CHECK_THAT(there.out, ContainsSubstring("machine: h100; training 395600, scoring 445050, writing 445050 GFLOP/s"));
  const Outcome unknown = work.run({"plan", "files.json", "--device", "h1000"});
  CHECK((unknown.code == 2 && unknown.says("no machine \"h1000\" is known; cpu measures this one, a100, h100, h200, l40s are forecast")));
  CHECK(work.run({"plan", "none.json"}).code == 2);
}

TEST_CASE("keel plan: stages that do not fit are named, with what to change", "[pipelines]") {
  const Workplace work;
  const Outcome large = work.run({"plan", std::string(KEEL_SOURCE_DIR) + "/recipes/sandbox.json", "--device", "l40s", "--set",
                                  "llama.hidden_size=4096", "--set", "llama.intermediate_size=11008", "--set", "llama.num_hidden_layers=32",
                                  "--set", "llama.num_attention_heads=32", "--set", "llama.num_key_value_heads=32"});
  INFO(large.err);
  CHECK((large.code == 2 && large.says("l40s has 48.0 GB of memory, and these stages need more: base (1")));
  CHECK(large.says("give adapters (lora.rank), smaller micro-batches"));
  CHECK_THAT(large.out, ContainsSubstring("model: 6480.5 M parameters"));
}

}  // namespace keel::pipelines::cli
