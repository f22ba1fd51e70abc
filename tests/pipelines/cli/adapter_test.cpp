// LoRA in the training commands, and adapters in the place of model folders.
#include "pipelines/cli/keel_binary.h"
#include "pipelines/cli/serving.h"

namespace keel::pipelines::cli {
namespace {

using Json = nlohmann::json;
using test::json_in;
using test::Outcome;
using test::Workplace;
using Arguments = std::vector<std::string>;

const Arguments kLora = {"--set", "lora.rank=2", "--set", "lora.target_modules=[\"q_proj\",\"o_proj\",\"up_proj\"]"};

Arguments operator+(Arguments list, const Arguments& more) {
  list.insert(list.end(), more.begin(), more.end());
  return list;
}

void write_data(const Workplace& work) {
  std::string demonstrations, pairs, prompts;
  for (const char* who : {"the baker", "the tailor", "the boat"}) {
    const std::string question = std::string("{\"prompt\":\"where is ") + who + "?\"";
    demonstrations += question + ",\"completion\":\"in the harbour\"}\n";
    pairs += question + ",\"chosen\":\"in the harbour\",\"rejected\":\"three\"}\n";
    prompts += question + "}\n";
  }
  work.write("demonstrations.jsonl", demonstrations);
  work.write("pairs.jsonl", pairs);
  work.write("prompts.jsonl", prompts);
  work.write("ids.jsonl", "{\"ids\":[1,80,17,200,5]}\n{\"ids\":[9,44,3]}\n");
}

void must_run(const Workplace& work, const Arguments& arguments) {
  const Outcome outcome = work.run(arguments);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

// The numbers of a command's rows under `key`.
std::vector<double> numbers(const Workplace& work, const Arguments& arguments, const char* key) {
  const Outcome outcome = work.run(arguments);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  std::vector<double> found;
  for (const auto& row : outcome.rows())
    for (const auto& value : row.at(key).is_array() ? row.at(key) : Json::array({row.at(key)}))
      found.push_back(value.get<double>());
  return found;
}

std::vector<double> logprobs(const Workplace& work, const Arguments& model) {
  return numbers(work, Arguments{"logprobs", "--in", "ids.jsonl", "--model"} + model, "logprobs");
}

std::vector<double> scores(const Workplace& work, const Arguments& model) {
  return numbers(work, Arguments{"score", "--in", "ids.jsonl", "--reward"} + model, "score");
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

const Arguments kSft = {
    "sft", "--model", "model", "--data", "demonstrations.jsonl", "--set", "steps=3", "--set", "schedule.learning_rate=0.05"};
const Arguments kReward = {"reward", "train",   "--data", "pairs.jsonl", "--held-out", "pairs.jsonl", "--set", "learning_rate=0.05",
                           "--set",  "epochs=2"};

}  // namespace

TEST_CASE("adapters: SFT, reward models, rejection sampling and PPO train them, and each result is read in their place", "[pipelines]") {
  const Workplace work;
  write_data(work);
  must_run(work, kSft + kLora + Arguments{"--out", "sft"});
  const Arguments adapter = {"sft/adapter", "--base", "model"};
  CHECK(largest_difference(logprobs(work, {"sft"}), logprobs(work, adapter)) < 1e-4);
  CHECK(largest_difference(logprobs(work, {"sft"}), logprobs(work, {"model"})) > 1e-3);
  CHECK(json_in(work, "sft/adapter/adapter_config.json")["task_type"] == "CAUSAL_LM");
  CHECK(json_in(work, "sft/adapter/keel.json")["lineage"]["stage"] == "sft");

  must_run(work, kReward + kLora + Arguments{"--model", "sft/adapter", "--base", "model", "--out", "scorer"});
  must_run(work, {"convert", "sft/adapter", "merged", "--base", "model"});
  CHECK(largest_difference(logprobs(work, {"sft"}), logprobs(work, {"merged"})) < 1e-4);
  CHECK(largest_difference(scores(work, {"scorer"}), scores(work, {"scorer/adapter", "--base", "merged"})) < 1e-4);
  CHECK(json_in(work, "scorer/adapter/keel.json")["lineage"]["kind"] == "helpfulness");
  must_run(work, {"convert", "scorer/adapter", "merged_scorer", "--base", "merged"});
  CHECK(largest_difference(scores(work, {"scorer"}), scores(work, {"merged_scorer"})) < 1e-4);
  CHECK(json_in(work, "merged_scorer/keel.json")["lineage"]["kind"] == "helpfulness");

  must_run(work, {"rejection",
                  "--model",
                  "merged",
                  "--start",
                  "model",
                  "--reward",
                  "scorer/adapter",
                  "--base",
                  "merged",
                  "--prompts",
                  "prompts.jsonl",
                  "--out",
                  "best",
                  "--set",
                  "samples=2",
                  "--set",
                  "sampling.max_new_tokens=4",
                  "--set",
                  "selection.finished_only=false",
                  "--set",
                  "sft.steps=2",
                  "--set",
                  "sft.schedule.learning_rate=0.05",
                  "--set",
                  "sft.lora.rank=2"});
  CHECK(largest_difference(logprobs(work, {"best"}), logprobs(work, {"best/adapter", "--base", "model"})) < 1e-4);
  must_run(work, Arguments{"ppo",
                           "--model",
                           "merged",
                           "--reward",
                           "scorer/adapter",
                           "--base",
                           "merged",
                           "--prompts",
                           "prompts.jsonl",
                           "--out",
                           "ppo",
                           "--set",
                           "iterations=2",
                           "--set",
                           "batch_answers=4",
                           "--set",
                           "minibatch_answers=2",
                           "--set",
                           "sampling.max_new_tokens=4",
                           "--set",
                           "schedule.learning_rate=0.05"} +
                     kLora);
  CHECK(largest_difference(logprobs(work, {"ppo"}), logprobs(work, {"ppo/adapter", "--base", "merged"})) < 1e-4);
  CHECK(largest_difference(logprobs(work, {"ppo"}), logprobs(work, {"merged"})) > 1e-3);
  // PPO of all weights from an adapter is PPO from the merged model.
  const Arguments whole = {"ppo",
                           "--reward",
                           "merged_scorer",
                           "--prompts",
                           "prompts.jsonl",
                           "--set",
                           "iterations=1",
                           "--set",
                           "batch_answers=4",
                           "--set",
                           "minibatch_answers=4",
                           "--set",
                           "sampling.max_new_tokens=4"};
  must_run(work, whole + Arguments{"--model", "sft/adapter", "--base", "model", "--out", "from_adapter"});
  must_run(work, whole + Arguments{"--model", "merged", "--out", "from_merged"});
  CHECK(largest_difference(logprobs(work, {"from_adapter"}), logprobs(work, {"from_merged"})) < 1e-4);
}

TEST_CASE("adapters: a killed SFT goes on bit for bit, and lora settings and the base are part of what makes a result", "[pipelines]") {
  const Workplace work;
  write_data(work);
  const Arguments command = kSft + kLora + Arguments{"--set", "steps=100"};
  must_run(work, command + Arguments{"--out", "straight"});
  {
    test::Process process(work.path(), command + Arguments{"--out", "stopped"});
    while (!work.has("stopped.partial/metrics.jsonl"))
      usleep(1000);
    if (process.signal_once_grown(work / "stopped.partial/metrics.jsonl", SIGTERM)) CHECK(process.wait().code == 75);
  }
  const Outcome other = work.run(kSft + Arguments{"--set", "steps=100", "--set", "lora.rank=1", "--out", "stopped"});
  CHECK((other.code == 2 && other.says("lora")));
  must_run(work, command + Arguments{"--out", "stopped"});
  for (const char* file : {"model.safetensors", "adapter/adapter_model.safetensors", "metrics.jsonl"})
    CHECK(work.read(std::string("stopped/") + file) == work.read(std::string("straight/") + file));
}

TEST_CASE("adapters: a run starts from one, on the base that --base or the recipe names", "[pipelines]") {
  const Workplace work;
  write_data(work);
  must_run(work, kSft + kLora + Arguments{"--out", "tuned"});
  test::write_files_recipe(work);
  const Arguments run = {"run", "files.json", "--out", "run", "--until", "sft", "--set", "model=tuned/adapter"};
  const Outcome without = work.run(run);
  CHECK((without.code == 2 && without.says("tuned/adapter is a PEFT adapter") && without.says("--base DIR")));
  CHECK_FALSE(work.has("run"));
  must_run(work, run + Arguments{"--base", "model"});
  CHECK(work.run({"status", "run"}).out.find("stale") == std::string::npos);  // run.json knows the base
  const Outcome again = work.run(run + Arguments{"--set", "base=model"});
  CHECK((again.code == 0 && !again.says("sft: done")));
  CHECK(json_in(work, "run/stages/sft/current/keel.json") != json_in(work, "tuned/keel.json"));

  work.write("texts.jsonl", "{\"text\": \"who?\"}\n");
  for (const Arguments& command :
       {Arguments{"tokenize", "--tokenizer", "tuned/adapter", "--in", "texts.jsonl"},
        Arguments{"inspect", "helpful.jsonl", "--model", "tuned/adapter"}, Arguments{"chat", "tuned/adapter", "--set", "max_new_tokens=4"},
        Arguments{"init", "--model", "tuned/adapter", "--data", "helpful.jsonl", "--out", "own.json"}})
    must_run(work, command + Arguments{"--base", "model"});
  CHECK(work.read("own.json").find("\"base\": \"model\"") != std::string::npos);
  must_run(work, {"run", "own.json", "--out", "own", "--dry-run"});

  const Outcome idle = work.run({"run", "files.json", "--out", "other", "--until", "sft", "--base", "model"});
  CHECK((idle.code == 2 && idle.says("none of the recipe's model folders is a PEFT adapter")));
}

TEST_CASE("adapters: what cannot be read is refused, with the folder and what to do", "[pipelines]") {
  const Workplace work;
  write_data(work);
  must_run(work, kSft + kLora + Arguments{"--out", "sft"});
  Json config = json_in(work, "sft/adapter/adapter_config.json");
  std::filesystem::copy(work / "sft/adapter", work / "hub");
  std::filesystem::copy(work / "sft/adapter", work / "dora");
  config["base_model_name_or_path"] = "meta-llama/Llama-2-7b";
  work.write("hub/adapter_config.json", config.dump());
  config["base_model_name_or_path"] = "../model", config["use_dora"] = true;
  work.write("dora/adapter_config.json", config.dump());
  const Arguments read = {"logprobs", "--in", "ids.jsonl", "--model"};
  const auto outcomes = work.run_all({read + Arguments{"sft/adapter"},
                                      read + Arguments{"hub"},
                                      read + Arguments{"dora"},
                                      read + Arguments{"model", "--base", "model"},
                                      {"convert", "hub", "out"},
                                      {"score", "--in", "ids.jsonl", "--reward", "sft/adapter", "--base", "model"},
                                      {"sft", "--model", "model", "--base", "model", "--data", "demonstrations.jsonl", "--out", "out"}});
  const std::vector<std::pair<int, std::string>> expected = {{2, "sft/adapter is a PEFT adapter"},
                                                             {2, "meta-llama/Llama-2-7b"},
                                                             {3, "dora/adapter_config.json"},
                                                             {2, "no model folder given"},
                                                             {2, "--base DIR"},
                                                             {3, "score.weight is missing"},
                                                             {2, "no model folder given"}};
  for (size_t i = 0; i < outcomes.size(); ++i) {
    INFO(i << " " << outcomes[i].err);
    CHECK(outcomes[i].code == expected[i].first);
    CHECK(outcomes[i].says(expected[i].second));
  }
  CHECK_FALSE(work.has("out"));
}

TEST_CASE("adapters: keel serve scores with reward models on one base as keel score does", "[pipelines]") {
  const Workplace work;
  write_data(work);
  must_run(work, kReward + kLora + Arguments{"--model", "model", "--out", "a"});
  must_run(work, kReward + kLora + Arguments{"--model", "model", "--out", "b", "--set", "learning_rate=0.02"});
  const test::Serving service(work, {"--reward", "a=a/adapter", "--reward", "b=b/adapter", "--base", "model"});
  for (const std::string name : {"a", "b"}) {
    const Json reply = service.post("/rm/" + name + "/v1/reward", {{"ids", {9, 44, 3}}}).second;
    INFO(reply.dump());
    CHECK(reply.at("score").get<double>() == Catch::Approx(scores(work, {name + "/adapter", "--base", "model"})[1]).margin(1e-5));
  }
}

}  // namespace keel::pipelines::cli
