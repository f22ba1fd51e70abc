// Refusals of the commands: broken files, impossible paths, full disks, locks, signals. Nothing may be left behind.
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <thread>

#include "pipelines/cli/keel_binary.h"
#include "support/gguf_builder.h"

namespace keel::pipelines::cli {
namespace {

namespace fs = std::filesystem;
using test::bytes_of;
using test::Outcome;
using test::Process;
using test::Workplace;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    names.push_back(entry.path().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct Damage {
  std::string file;                                             // of a model folder
  std::function<std::string(const std::string& whole)> change;  // its bytes
  std::string says;                                             // beside the file's name
};

std::string half(const std::string& bytes) {
  return bytes.substr(0, bytes.size() / 2);
}

std::string with(const std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return std::string(text).replace(at, from.size(), to);
}

auto replaced(const std::string& from, const std::string& to) {
  return [=](const std::string& whole) { return with(whole, from, to); };
}
auto always(const std::string& bytes) {
  return [=](const std::string&) { return bytes; };
}

// `keel logprobs` on copies of the tiny model, each with one file damaged: exit 3, the file's name, and no output.
void check_damaged_models(const std::vector<Damage>& damages) {
  const Workplace work;
  work.write("in.jsonl", "{\"prompt\":\"the boat\",\"response\":\" is\"}\n");
  std::vector<std::vector<std::string>> commands;
  for (size_t i = 0; i < damages.size(); ++i) {
    const std::string folder = "model" + std::to_string(i);
    fs::copy(work / "model", work / folder, fs::copy_options::recursive);
    const auto path = work / folder / damages[i].file;
    test::write_text(path, damages[i].change(test::read_text(path)));
    commands.push_back({"logprobs", "--model", folder, "--in", "in.jsonl", "--out", "out" + std::to_string(i) + ".jsonl"});
  }
  const auto before = names_in(work.path());
  const auto outcomes = work.run_all(commands);
  for (size_t i = 0; i < damages.size(); ++i) {
    INFO("case " << i << ", " << damages[i].file << ": " << outcomes[i].err);
    CHECK(outcomes[i].code == 3);
    CHECK(outcomes[i].out.empty());
    CHECK(outcomes[i].says("model" + std::to_string(i)));
    CHECK(outcomes[i].says(damages[i].file));
    CHECK(outcomes[i].says(damages[i].says));
  }
  CHECK(names_in(work.path()) == before);
}

}  // namespace

TEST_CASE("keel: weights that are cut or lie about themselves are refused by name", "[pipelines]") {
  const std::string weights = "model.safetensors";
  check_damaged_models({
      {weights, half, ""},
      {weights, always(""), ""},
      {weights, [](const std::string& whole) { return whole.substr(0, 8); }, ""},
      {weights, [](const std::string& whole) { return bytes_of(uint64_t{1} << 62) + whole.substr(8); }, ""},
      {weights, replaced("\"F32\"", "\"F64\""), ""},
      {weights, replaced("[320,8]", "[160,8]"), ""},
      {weights, replaced("model.norm.weight", "model.nose.weight"), "model.norm.weight"},
      {weights, [](const std::string& whole) { return whole.substr(0, whole.size() - 4) + bytes_of(NAN); }, "NaN"},
  });
}

TEST_CASE("keel: mistyped words are answered with the nearest known one", "[pipelines]") {
  const Workplace work;
  const auto outcomes = work.run_all({{"genrate", "--model", "model"},
                                      {"generate", "--modle", "model"},
                                      {"reward", "trian"},
                                      {"generate", "--model", "model", "--prompts", "in.jsonl", "--samples", "0"}});
  for (const auto& outcome : outcomes)
    CHECK(outcome.code == 2);
  CHECK(outcomes[0].says("no command genrate; did you mean generate?"));
  CHECK(outcomes[1].says("no option --modle; did you mean --model?"));
  CHECK(outcomes[2].says("no command trian; did you mean train?"));
  CHECK(outcomes[3].says("1000000"));
}

TEST_CASE("keel: a config.json, keel.json or tokenizer.model that is cut or lies is refused by name", "[pipelines]") {
  check_damaged_models({
      {"config.json", half, ""},
      {"config.json", always("[]"), ""},
      {"config.json", replaced("\"hidden_size\":8", "\"hidden_size\":\"8\""), "hidden_size"},
      {"config.json", replaced("\"num_attention_heads\":2", "\"num_attention_heads\":0"), "num_attention_heads"},
      {"keel.json", half, ""},
      {"keel.json", replaced("llama2", "gemma"), "must be one of none, llama2, llama3, chatml, zephyr, vicuna, alpaca, hh, or be declared"},
      {"tokenizer.model", half, ""},
      {"tokenizer.model", always("{}"), ""},
  });
}

TEST_CASE("keel: tokenizer.json and GGUF files that are cut or lie are refused by name", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl", "{\"text\":\"the boat\"}\n");
  for (const char* folder : {"cut", "lying", "odd"})
    fs::create_directories(work / folder);
  work.write("cut/tokenizer.json", "{\"model\": {\"type\": \"BPE\",");
  work.write("lying/tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 7000000000}, "merges": []}})");
  work.write("odd/tokenizer.json", R"({"model": {"type": "BPE", "vocab": ["a"], "merges": 5}})");
  const std::string header = "GGUF" + bytes_of(uint32_t{3});
  work.write("cut.gguf", header);
  work.write("lying.gguf", header + bytes_of(uint64_t{1} << 60) + bytes_of(uint64_t{1} << 60));
  work.write("empty.gguf", "");
  work.write("text.gguf", "this is no GGUF file");
  const auto before = names_in(work.path());
  std::vector<std::vector<std::string>> commands;
  const std::vector<std::string> tokenizers = {"cut/tokenizer.json", "lying", "odd", "cut.gguf", "lying.gguf"};
  for (const auto& path : tokenizers)
    commands.push_back({"tokenize", "--tokenizer", path, "--in", "in.jsonl", "--out", "out.jsonl"});
  const std::vector<std::string> checkpoints = {"cut.gguf", "lying.gguf", "empty.gguf", "text.gguf"};
  for (const auto& path : checkpoints)
    commands.push_back({"convert", path, "converted"});
  const auto outcomes = work.run_all(commands);
  for (size_t i = 0; i < commands.size(); ++i) {
    INFO(commands[i][0] << " " << (i < tokenizers.size() ? tokenizers[i] : checkpoints[i - tokenizers.size()]) << ": " << outcomes[i].err);
    CHECK(outcomes[i].code == 3);
    CHECK(outcomes[i].says(i < tokenizers.size() ? tokenizers[i] : checkpoints[i - tokenizers.size()]));
  }
  CHECK(names_in(work.path()) == before);
}

TEST_CASE("keel: paths that cannot be are usage errors, paths that cannot be read I/O errors; none is internal", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", test::kTinyRecipe);
  work.write("in.jsonl", "{\"text\":\"the boat\"}\n");
  fs::create_symlink("loop", work / "loop");
  const std::string over_long(300, 'n');
  const auto before = names_in(work.path());
  const auto impossible = work.run_all({{"tokenize", "--tokenizer", over_long, "--in", "in.jsonl"},
                                        {"convert", over_long, "converted"},
                                        {"convert", "model", over_long},
                                        {"sft", "--model", "model", "--data", "in.jsonl", "--out", over_long},
                                        {"run", "tiny.json", "--out", over_long},
                                        {"logprobs", "--model", over_long, "--in", "in.jsonl"},
                                        {"tokenize", "--tokenizer", "model", "--in", over_long}});
  for (const auto& outcome : impossible) {
    INFO(outcome.err);
    CHECK(outcome.code == 2);
    CHECK(outcome.says(over_long));
  }
  const auto unreadable = work.run_all({{"tokenize", "--tokenizer", "loop", "--in", "in.jsonl"}, {"convert", "loop", "converted"}});
  for (const auto& outcome : unreadable) {
    INFO(outcome.err);
    CHECK(outcome.code == 74);
    CHECK(outcome.says("loop"));
  }
  CHECK(names_in(work.path()) == before);
}

TEST_CASE("keel: a full disk is 74, a step that another process works on is 4, a seed that no recipe holds is 2", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", test::kTinyRecipe);
  work.write("in.jsonl", "{\"text\":\"the boat\"}\n");
  fs::create_directory(work / "tuned.partial");
  const core::FileLock lock(work / "tuned.partial/.lock");
  const auto before = names_in(work.path());
  const auto outcomes = work.run_all({{"tokenize", "--tokenizer", "model", "--in", "in.jsonl", "--out", "/dev/full"},
                                      {"sft", "--model", "model", "--data", "in.jsonl", "--out", "tuned"},
                                      {"run", "tiny.json", "--out", "new", "--seed", "9223372036854775808"},
                                      {"run", "tiny.json", "--out", "new", "--seed", "-1"},
                                      {"run", "tiny.json", "--out", "new", "--set", "seed=9223372036854775808"},
                                      {"run", "tiny.json", "--out", "new", "--dry-run", "--seed", "9223372036854775807"}});
  CHECK(outcomes[0].code == 74);
  CHECK(outcomes[0].says("/dev/full"));
  CHECK(outcomes[1].code == 4);
  CHECK(outcomes[1].says("tuned.partial/.lock is held by pid " + std::to_string(getpid())));
  for (const size_t i : {2, 3, 4})
    CHECK(outcomes[i].code == 2);
  CHECK(outcomes[2].says("--seed"));
  CHECK(outcomes[5].code == 0);
  CHECK(names_in(work.path()) == before);
}

TEST_CASE("keel: a signal stops the commands that read rows at the next one, and nothing is written", "[pipelines]") {
  const Workplace work;
  const std::string text = "{\"text\":\"the boat\"}\n", answer = "{\"prompt\":\"the boat\",\"response\":\" is\"}\n",
                    pair = "{\"prompt\":\"who?\",\"chosen\":\"the baker.\",\"rejected\":\"the boat.\"}\n";
  const std::vector<std::pair<std::vector<std::string>, std::string>> commands = {
      {{"tokenize", "--tokenizer", "model", "--in", "rows"}, text},
      {{"logprobs", "--model", "model", "--in", "rows"}, answer},
      {{"score", "--reward", "reward", "--in", "rows"}, answer},
      {{"generate", "--model", "model", "--prompts", "rows"}, answer},
      {{"reward", "eval", "--reward", "reward", "--data", "rows"}, pair}};
  REQUIRE(mkfifo((work / "rows").c_str(), 0600) == 0);
  for (const auto& [command, row] : commands) {
    INFO(command[0]);
    // The test holds both ends, so that neither side waits for the other to open.
    const int pipe = open((work / "rows").c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(pipe >= 0);
    auto arguments = command;
    arguments.insert(arguments.end(), {"--out", "out.jsonl"});
    Process process(work.path(), arguments);
    const auto wait_until = [](const auto& condition) {
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (!condition() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return condition();
    };
    REQUIRE(write(pipe, row.data(), row.size()) == static_cast<ssize_t>(row.size()));
    CHECK(wait_until([&] {
      int unread = 1;
      return ioctl(pipe, FIONREAD, &unread) == 0 && unread == 0;
    }));
    process.signal(SIGTERM);
    CHECK(wait_until([&] { return process.errors_so_far().find("stopping at the next safe point") != std::string::npos; }));
    REQUIRE(write(pipe, row.data(), row.size()) == static_cast<ssize_t>(row.size()));
    close(pipe);
    const Outcome outcome = process.wait();
    CHECK(outcome.code == 75);
    CHECK(outcome.says("run the same command again"));
    CHECK_FALSE(work.has("out.jsonl"));
  }
}

TEST_CASE("commands refuse an output that they read, and settings that nothing reads", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n");
  work.write("pairs.jsonl", "{\"prompt\":\"who sells bread?\",\"chosen\":\"the baker\",\"rejected\":\"the sea\"}\n");
  const std::string before = work.read("prompts.jsonl") + work.read("pairs.jsonl");
  struct Case {
    std::vector<std::string> command;
    std::string says;
  };
  const auto with = [](std::vector<std::string> command, const std::vector<std::string>& more) {
    command.insert(command.end(), more.begin(), more.end());
    return command;
  };
  const std::vector<std::string> train = {"reward", "train", "--model", "model", "--data", "pairs.jsonl", "--held-out", "pairs.jsonl"},
                                 select = {"rejection", "--model", "model", "--reward", "model", "--prompts", "prompts.jsonl"},
                                 finetune = {"sft", "--model", "model", "--data", "prompts.jsonl"},
                                 pretrain = {"pretrain", "--tokenizer", "model", "--data", "prompts.jsonl"},
                                 tune = {"ppo", "--model", "model", "--reward", "model", "--prompts", "prompts.jsonl"};
  const std::vector<Case> cases = {
      {{"generate", "--model", "model", "--prompts", "prompts.jsonl", "--out", "./prompts.jsonl"}, "is a file that this command reads"},
      {{"reward", "stats", "--data", "pairs.jsonl", "--tokenizer", "model", "--out", "pairs.jsonl"}, "is a file that this command reads"},
      {with(train, {"--set", "loss.safety_weight=2"}), "loss.safety_weight: nothing reads it without --safety"},
      {with(train, {"--set", "epochs=1000000000"}), "epochs: 1e+09 pairs in all"},
      {with(train, {"--max-tokens", "-5"}), "--max-tokens"},
      {with(select, {"--set", "pool_from=2"}), "unknown key \"pool_from\""},
      {with(select, {"--pool", "a.jsonl", "--pool", "a.jsonl"}), "--pool a.jsonl is given twice"},
      {with(select, {"--set", "sampling.temperature=0"}), "at temperature 0 would all be equal"},
      {with(select, {"--set", "sft.schedule.schedule=constant", "--set", "sft.schedule.final_ratio=0.5"}), "sft.schedule.final_ratio: a"},
      {with(finetune, {"--set", "schedule.schedule=constant", "--set", "schedule.final_ratio=0.5"}), "schedule.final_ratio: a constant"},
      {with(pretrain, {"--set", "pretrain.schedule.schedule=constant", "--set", "pretrain.schedule.final_ratio=0.5"}),
       "pretrain.schedule.final_ratio: a constant schedule has no last rate"},
      {with(tune, {"--set", "schedule.final_ratio=0.5"}), "schedule.final_ratio: a constant schedule has no last rate"},
      {with(tune, {"--set", "lora.rank=2", "--set", R"(lora.target_modules=["q_proj","q_proj"])"}), "must name each projection once"},
      {with(tune, {"--set", "loss.policy_clip=1e308"}), "loss.policy_clip must be"}};
  std::vector<std::vector<std::string>> commands;
  for (const auto& one : cases) {
    commands.push_back(one.command);
    const bool makes_model = std::find(one.command.begin(), one.command.end(), "--out") == one.command.end();
    if (makes_model) commands.back().insert(commands.back().end(), {"--out", "out" + std::to_string(commands.size())});
  }
  const auto outcomes = work.run_all(commands);
  for (size_t i = 0; i < cases.size(); ++i) {
    INFO("case " << i << ": " << outcomes[i].err);
    CHECK(outcomes[i].code == 2);
    CHECK(outcomes[i].says(cases[i].says));
  }
  CHECK(work.read("prompts.jsonl") + work.read("pairs.jsonl") == before);
}

TEST_CASE("keel sft: a folder that is not its own half-done work is left alone, and no link is written through", "[pipelines]") {
  const Workplace work;
  work.write("data.jsonl", "{\"prompt\":\"where is the boat?\",\"completion\":\"in the harbour\"}\n");
  work.write("victim", "precious");
  fs::create_directory(work / "a.partial");
  work.write("a.partial/notes.txt", "precious");
  fs::create_directory(work / "b.partial");
  fs::create_symlink(work / "victim", work / "b.partial/model.safetensors");
  fs::create_symlink("nowhere", work / "c");
  for (const auto& [out, says] : {std::pair{"a", "holds notes.txt but no attempt.json"}, {"b", "holds the link"}, {"c", "is a link"}}) {
    const Outcome outcome = work.run({"sft", "--model", "model", "--data", "data.jsonl", "--out", out, "--set", "steps=1"});
    INFO(outcome.err);
    CHECK((outcome.code == 2 && outcome.says(says)));
    CHECK_FALSE(work.has(out));
  }
  CHECK(work.read("victim") + work.read("a.partial/notes.txt") == "preciousprecious");
}

}  // namespace keel::pipelines::cli
