// keel bench engine: keel's kernels beside plain operators.
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using Catch::Matchers::ContainsSubstring;
using test::Outcome;
using test::Workplace;
using Json = nlohmann::json;

}  // namespace

TEST_CASE("keel bench engine: a row a workload; a ratio far below the recorded one is an error", "[pipelines]") {
  const Workplace work;
  const Outcome short_context = work.run({"bench", "engine", "--model", "model", "--pairs", "1"});
  CHECK((short_context.code == 2 && short_context.says("the context of model has 96 tokens, and the rows that are measured up to 448")));
  Json config = test::json_in(work, "model/config.json");
  config["max_position_embeddings"] = 512;
  work.write("model/config.json", config.dump());

  const std::vector<std::string> command = {"bench", "engine", "--model", "model", "--pairs", "3", "--out", "rows.jsonl"};
  const Outcome measured = work.run(command);
  INFO(measured.err);
  REQUIRE(measured.code == 0);
  const auto rows = test::rows_in(work / "rows.jsonl");
  std::vector<std::string> names;
  Json least;
  for (const Json& row : rows) {
    names.push_back(row["workload"]);
    CHECK((row["lowest"] <= row["ratio"] && row["ratio"] <= row["highest"] && row["lowest"] > 0 && row["pairs"] == 3));
    CHECK((row["tokens_per_second"] > 0 && row["plain_tokens_per_second"] > 0));
    least[row["vector_level"].get<std::string>()][names.back()] = names.back() == "scoring" ? 1e6 : 1e-3;
  }
  CHECK(names ==
        std::vector<std::string>{"writing_1", "writing_16", "writing_64", "scoring", "training", "adapter_training", "reward_training"});

  work.write("least.json", least.dump());
  const auto with_least = [&] {
    std::vector<std::string> arguments = command;
    arguments.insert(arguments.end(), {"--least", "least.json"});
    return work.run(arguments);
  };
  const Outcome slow = with_least();
  CHECK((slow.code == 3 && slow.says("least.json") && slow.says("scoring is ") && slow.says("less than 0.9 of the recorded 1000000.00")));
  for (const char* broken :
       {"[1, 2]", "{}", R"({"AVX512": 3})", R"({"AVX512": {"writing_64": "fast"}})", R"({"AVX512": {"writing": 2}})"}) {
    work.write("least.json", broken);
    const Outcome refused = with_least();
    CHECK((refused.code == 3 && refused.says("it must hold recorded ratios by vector level")));
    CHECK_FALSE(refused.says("tokens/s"));  // before anything is measured
  }
  CHECK(work.run({"bench", "engine", "--model", "reward"}).says("reward is a reward model; give a language model"));
  work.write("least.json", R"({"AVX1024": {"scoring": 2}})");
  const Outcome other = with_least();
  CHECK((other.code == 0 && other.says("least.json records no ratio of scoring at ")));
}

}  // namespace keel::pipelines::cli
