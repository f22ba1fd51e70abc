// --precision bf16 through the binary.
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using test::Outcome;
using test::Workplace;

}  // namespace

TEST_CASE("precision: another precision is another result, and what a command cannot compute is refused", "[pipelines]") {
  const Workplace work;
  work.write("pairs.jsonl", "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"}\n");
  const std::vector<std::string> command = {"logprobs", "--model", "model", "--in", "pairs.jsonl", "--precision"};
  const auto with = [&](const std::string& precision) {
    auto words = command;
    words.push_back(precision);
    return work.run(words);
  };
  const Outcome exact = with("fp32"), unknown = with("fp16");
  REQUIRE(exact.code == 0);
  CHECK((unknown.code == 2 && unknown.says("--precision must be fp32 or bf16, got \"fp16\"")));
  ::setenv("ATEN_CPU_CAPABILITY", "avx2", 1);
  const Outcome without = with("bf16");
  ::unsetenv("ATEN_CPU_CAPABILITY");
  CHECK((without.code == 2 && without.says("this processor has no products in bf16") && without.out.empty()));

  const Outcome rounded = with("bf16");
  if (rounded.code == 2) SKIP("this processor has no products in bf16");
  REQUIRE(rounded.code == 0);
  CHECK(rounded.out != exact.out);
  work.write("tiny.json", test::kTinyRecipe);
  REQUIRE(work.run({"run", "tiny.json", "--out", "run", "--until", "sft"}).code == 0);
  const std::vector<std::string> again = {"run", "tiny.json", "--out", "run", "--until", "sft", "--dry-run"};
  auto in_bf16 = again;
  in_bf16.insert(in_bf16.end(), {"--precision", "bf16"});
  const Outcome same = work.run(again), other = work.run(in_bf16);
  CHECK(same.out != other.out);
  in_bf16.erase(std::ranges::find(in_bf16, "--dry-run"));
  REQUIRE(work.run(in_bf16).code == 0);
  CHECK(test::json_in(work, "run/stages/sft/current/manifest.json").at("material").dump().find("bf16") != std::string::npos);
  const auto sft_is = [&](const std::string& state, const Outcome& status) {
    const size_t line = status.out.find("\nsft ");
    return line != std::string::npos && status.out.substr(line, status.out.find('\n', line + 1) - line).find(state) != std::string::npos;
  };
  REQUIRE(work.run({"run", "tiny.json", "--out", "rounded", "--until", "sft", "--precision", "bf16"}).code == 0);
  CHECK(sft_is(" done ", work.run({"status", "rounded"})));
  CHECK_FALSE(sft_is(" done ", work.run({"status", "rounded", "--precision", "fp32"})));
  CHECK(work.run({"explain", "rounded", "sft"}).out.find("bf16") == std::string::npos);
  CHECK(work.run({"explain", "rounded", "sft", "--precision", "fp32"}).out.find("bf16") != std::string::npos);
}

}  // namespace keel::pipelines::cli
