// The keel binary with models on a device that is not the CPU: the pretend device of tests/support, as strict as a GPU.
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using test::json_in;
using test::Outcome;
using test::rows_in;
using test::Workplace;

std::vector<std::string> on_device(std::vector<std::string> words) {
  words.insert(words.end(), {"--device", "pretend"});
  return words;
}

void check_close(const std::vector<nlohmann::json>& found, const std::vector<nlohmann::json>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    for (const auto& [name, value] : expected[i].items())
      if (value.is_number_float()) CHECK(found[i].at(name).get<double>() == Catch::Approx(value.get<double>()).epsilon(1e-4).margin(1e-5));
}

}  // namespace

TEST_CASE("device: a whole run, Ghost Attention and distillation included, lies and computes on it", "[pipelines]") {
  const Workplace work;
  nlohmann::json recipe = nlohmann::json::parse(std::string(test::kTinyRecipe), nullptr, true, true);
  recipe["versions"] = {"rejection", "ppo"};
  recipe["sandbox"]["dialogues"] = {{"train", 6}, {"test", 2}, {"turns", 3}};
  recipe["gatt"] = {{"from_version", 1},
                    {"weight", 0.3},
                    {"data", {{"finished_only", false}}},
                    {"answers", {{"sampling", {{"max_new_tokens", 4}}}}},
                    {"retention", {{"turns", {1, 3}}, {"dialogues", 2}, {"change_at", 2}}}};
  recipe["distill"] = {
      {"from_version", 1}, {"data", {{"finished_only", false}, {"keep", "always"}}}, {"answers", {{"sampling", {{"max_new_tokens", 4}}}}}};
  work.write("run.json", recipe.dump());
  const Outcome done = work.run(on_device({"run", "run.json", "--out", "device"}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  CHECK(json_in(work, "device/stages/ppo/current/manifest.json").at("material").dump().find("pretend") != std::string::npos);

  // The first training has the numbers of the CPU; later ones may hang on a token that rounding has changed.
  REQUIRE(work.run({"run", "run.json", "--out", "host", "--until", "sft"}).code == 0);
  for (const std::string stage : {"base", "sft"}) {
    INFO(stage);
    const std::string metrics = "/stages/" + stage + "/current/metrics.jsonl";
    check_close(rows_in(work / ("device" + metrics)), rows_in(work / ("host" + metrics)));
  }
  const Outcome other = work.run({"run", "run.json", "--out", "device", "--dry-run"});  // another device is another result
  CHECK(other.out.find("done") == std::string::npos);
}

TEST_CASE("device: answers, scores and log-probs of a command are the CPU's; a device that is not there is refused", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", "{\"prompt\":\"who sells bread?\"}\n{\"prompt\":\"where?\"}\n");
  work.write("pairs.jsonl", "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"}\n{\"prompt\":\"who?\",\"response\":\"no\"}\n");
  const std::vector<std::vector<std::string>> commands = {
      {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--samples", "3", "--max-new-tokens", "5"},
      {"score", "--reward", "reward", "--in", "pairs.jsonl"},
      {"logprobs", "--model", "model", "--in", "pairs.jsonl"}};
  for (const auto& command : commands) {
    INFO(command[0]);
    const Outcome host = work.run(command), device = work.run(on_device(command));
    REQUIRE((host.code == 0 && device.code == 0));
    check_close(device.rows(), host.rows());
    for (size_t i = 0; i < host.rows().size(); ++i) {
      if (host.rows()[i].contains("ids")) CHECK(device.rows()[i]["ids"] == host.rows()[i]["ids"]);
      const auto expected = host.rows()[i].value("logprobs", nlohmann::json::array());
      for (size_t t = 0; t < expected.size(); ++t)
        CHECK(device.rows()[i]["logprobs"][t].get<double>() == Catch::Approx(expected[t].get<double>()).margin(1e-5));
    }
  }
  // In bf16: other numbers, and not far away.
  const std::vector<std::string> logprobs = {"logprobs", "--model", "model", "--in", "pairs.jsonl"};
  auto in_bf16 = on_device(logprobs);
  in_bf16.insert(in_bf16.end(), {"--precision", "bf16"});
  const Outcome exact = work.run(logprobs), rounded = work.run(in_bf16);
  INFO(rounded.err);
  REQUIRE((exact.code == 0 && rounded.code == 0));
  CHECK(rounded.out != exact.out);
  for (size_t i = 0; i < exact.rows().size(); ++i)
    for (size_t t = 0; t < exact.rows()[i].at("logprobs").size(); ++t)
      CHECK(rounded.rows()[i]["logprobs"][t].get<double>() == Catch::Approx(exact.rows()[i]["logprobs"][t].get<double>()).margin(0.1));
  for (const std::string name : {"pretend:1", "cuda:99", "gpu", "cuda:x"}) {
    const Outcome refused = work.run({"logprobs", "--model", "model", "--in", "pairs.jsonl", "--device", name});
    INFO(refused.err);
    CHECK((refused.code == 2 && refused.says("--device") && refused.out.empty()));
  }
}

}  // namespace keel::pipelines::cli
