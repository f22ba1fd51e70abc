// The files beside a checkpoint, places for results, and empty answers, as seen by a user of the commands.
#include <algorithm>

#include "pipelines/cli/keel_binary.h"

using keel::test::rows_in;
using keel::test::TinyTensor;
using keel::test::Workplace;
using nlohmann::json;

namespace {

// Llama 2's template with a default system prompt switched on.
constexpr const char* kTemplate =
    R"({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% elif true == true and not '<<SYS>>' in messages[0]['content'] %}{% set loop_messages = messages %}{% set system_message = 'Be kind.' %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('x') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}
)";

// A model that ends every answer at once: all embeddings are equal, and the head gives one answer.
void write_mute_model(const Workplace& work) {
  auto tensors = keel::test::tiny_weights();
  for (auto& tensor : tensors) {
    const bool silent = tensor.name.find("o_proj") != std::string::npos || tensor.name.find("down_proj") != std::string::npos;
    std::fill(tensor.values.begin(), tensor.values.end(), silent ? 0.F : 1.F);
  }
  TinyTensor head{.name = "lm_head.weight", .shape = tensors[0].shape, .values = std::vector<float>(tensors[0].values.size(), 0)};
  std::fill_n(head.values.begin() + 2 * keel::test::kTinyWidth, keel::test::kTinyWidth, 10.F);  // EOS
  tensors.push_back(head);
  keel::test::write_tiny_folder(work / "mute", tensors, {{"architectures", {"LlamaForCausalLM"}}}, work / "tokenizer.model");
  json config = json::parse(work.read("mute/config.json"));
  config["tie_word_embeddings"] = false;
  work.write("mute/config.json", config.dump());
}

}  // namespace

TEST_CASE("cli: convert reads the companions of a checkpoint and takes them along", "[pipelines]") {
  const Workplace work;
  std::filesystem::remove(work / "model/keel.json");
  work.write("model/chat_template.jinja", kTemplate);
  work.write("model/tokenizer_config.json", R"({"eos_token": "</s>", "add_bos_token": true})");
  work.write("model/generation_config.json", R"({"eos_token_id": [2, 9], "temperature": 0.6, "do_sample": true})");
  const auto done = work.run({"convert", "model", "converted"});
  REQUIRE(done.code == 0);
  CHECK(done.says("chat format llama2 with the default system turn \"Be kind.\""));
  CHECK(done.says("generation_config.json: temperature = 0.6 not applied"));
  CHECK(json::parse(work.read("converted/keel.json"))["default_system"] == "Be kind.");
  CHECK(json::parse(work.read("converted/config.json"))["eos_token_id"] == json({2, 9}));
  for (const char* name : {"chat_template.jinja", "tokenizer_config.json", "generation_config.json"})
    CHECK(work.read(std::string("converted/") + name) == work.read(std::string("model/") + name));
  // The plain folder and the converted one write the same dialogue; a format named by hand has no default turn.
  work.write("chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who\"}]}\n");
  work.write("full.jsonl", "{\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\"who\"}]}\n");
  const auto outcomes = work.run_all({{"tokenize", "--tokenizer", "model", "--in", "chat.jsonl"},
                                      {"tokenize", "--tokenizer", "converted", "--in", "chat.jsonl"},
                                      {"tokenize", "--tokenizer", "model", "--chat", "llama2", "--in", "full.jsonl"},
                                      {"tokenize", "--tokenizer", "model", "--chat", "llama2", "--in", "chat.jsonl"}});
  for (const auto& outcome : outcomes)
    REQUIRE(outcome.code == 0);
  CHECK(outcomes[0].out == outcomes[1].out);
  CHECK(outcomes[0].out == outcomes[2].out);
  CHECK(outcomes[0].out != outcomes[3].out);
}

TEST_CASE("cli: stops that config.json alone names, and those of SRC beside another tokenizer, stay with the model", "[pipelines]") {
  const Workplace work;
  json config = json::parse(work.read("model/config.json"));
  config["eos_token_id"] = {2, 1};
  work.write("model/config.json", config.dump());
  work.write("model/tokenizer_config.json", R"({"eos_token": "</s>"})");
  std::filesystem::remove(work / "model/generation_config.json");
  work.write("rows.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
  work.write("quick.json", R"({"epochs": 1, "batch": {"batch_rows": 1, "row_tokens": 64}})");
  std::filesystem::copy(work / "model", work / "plain", std::filesystem::copy_options::recursive);
  for (const char* name : {"plain/tokenizer.model", "plain/tokenizer_config.json"})
    std::filesystem::remove(work / name);
  work.write("plain/generation_config.json", R"({"eos_token_id": [2, 1]})");
  const auto outcomes =
      work.run_all({{"convert", "model", "converted"},
                    {"sft", "--model", "model", "--chat", "llama2", "--data", "rows.jsonl", "--config", "quick.json", "--out", "tuned"},
                    {"convert", "plain", "with_tokenizer", "--tokenizer", "model"}});
  for (const auto& outcome : outcomes) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  for (const char* folder : {"converted", "tuned", "with_tokenizer"})
    CHECK(json::parse(work.read(std::string(folder) + "/config.json"))["eos_token_id"] == json({2, 1}));
}

TEST_CASE("cli: a chat format of one's own goes from a file into the model folder, and one that the tokenizer cannot write is refused",
          "[pipelines]") {
  const Workplace work;
  std::filesystem::remove(work / "model/keel.json");
  work.write("radio.json",
             R"({"bos": "once", "user": {"prefix": "Q: ", "suffix": "\n"}, "assistant": {"prefix": "A: ", "suffix": "{eos}"}})");
  work.write("chat.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"who\"}]}\n{\"text\":\"Q: who\\nA: \"}\n");
  const auto refused = work.run({"convert", "model", "converted", "--chat", "llama3"});
  CHECK(refused.code == 2);
  CHECK(refused.says("<|start_header_id|>"));
  REQUIRE(work.run({"convert", "model", "converted", "--chat", "radio.json"}).code == 0);
  CHECK(json::parse(work.read("converted/keel.json"))["chat_format"] == "radio");
  REQUIRE(work.run({"tokenize", "--tokenizer", "converted", "--in", "chat.jsonl", "--out", "ids.jsonl"}).code == 0);
  const auto rows = rows_in(work / "ids.jsonl");
  CHECK(rows[0] == rows[1]);
}

TEST_CASE("cli: logprobs of a row that is longer than the context fail alone", "[pipelines]") {
  const Workplace work;
  const json config = json::parse(work.read("model/config.json"));
  const json longest(std::vector<int>(config["max_position_embeddings"].get<size_t>() + 1, 5));
  work.write("rows.jsonl",
             json{{"ids", {5, 6}}}.dump() + "\n" + json{{"ids", longest}}.dump() + "\n" + json{{"ids", {7, 8, 9}}}.dump() + "\n");
  REQUIRE(work.run({"logprobs", "--model", "model", "--in", "rows.jsonl", "--out", "out.jsonl"}).code == 0);
  const auto rows = rows_in(work / "out.jsonl");
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["logprobs"].size() == 1);
  CHECK(rows[1].contains("error"));
  CHECK(rows[2]["logprobs"].size() == 2);
}

TEST_CASE("cli: a template that is not recognised is named, with the format that is read in its place", "[pipelines]") {
  const Workplace work;
  std::filesystem::remove(work / "model/keel.json");
  work.write("model/tokenizer_config.json",
             R"({"chat_template": "{{ '[INST] Answer as a pirate would.' }}{% for m in messages %}{{ m.content }}{% endfor %}"})");
  const auto done = work.run({"convert", "model", "converted"});
  REQUIRE(done.code == 0);
  CHECK(done.says("tokenizer_config.json: chat_template is not one that keel recognises in full; its turns are written as llama2"));
  CHECK(done.says("Answer as a pirate would."));
}

TEST_CASE("cli: places that a result could not be moved to are refused before any work", "[pipelines]") {
  const Workplace work;
  work.write("rows.jsonl", "{\"prompt\":\"who\",\"completion\":\"the baker\"}\n");
  std::filesystem::create_directory(work / "here");
  std::filesystem::create_directory_symlink("here", work / "link");
  work.write("file", "x");
  std::vector<std::vector<std::string>> commands;
  for (const char* out : {".", "", "/", "link", "file/x", "file"})
    commands.push_back({"sft", "--model", "model", "--data", "rows.jsonl", "--out", out, "--set", "epochs=1"});
  commands.push_back({"convert", "model", "link"});
  commands.push_back({"convert", "model", "."});
  commands.push_back({"convert", "model", ""});
  commands.push_back({"generate", "--model", "model", "--prompts", "rows.jsonl", "--out", ""});
  commands.push_back({"ablate", "rows.jsonl", "--out", ""});
  for (const auto& outcome : work.run_all(commands)) {
    CHECK(outcome.code == 2);
    CHECK_FALSE(outcome.says("kept"));  // no data was read
  }
  CHECK(std::filesystem::is_symlink(work / "link"));
  const auto dotted = work.run({"convert", "model", "new/."});
  CHECK(dotted.code == 0);
  CHECK(work.has("new/model.safetensors"));
}

TEST_CASE("cli: rejection sampling leaves out empty answers, as sft does", "[pipelines]") {
  const Workplace work;
  write_mute_model(work);
  work.write("prompts.jsonl", "{\"prompt\":\"who\"}\n{\"prompt\":\"how many\"}\n");
  const auto mute = work.run({"rejection", "--model", "mute", "--reward", "reward", "--prompts", "prompts.jsonl", "--out", "o", "--set",
                              "samples=2", "--set", "sampling.max_new_tokens=4"});
  CHECK(mute.code == 3);
  CHECK(mute.says("of 2 the best is empty"));
  CHECK(mute.says("nothing is left to learn from: the best answers to 2 prompts are empty"));
  CHECK(json::parse(work.read("o.partial/selection.json"))["empty"] == 2);
  CHECK(rows_in(work / "o.partial/kept.jsonl.gz").empty());
  // A pool leaves out those of an earlier version too.
  work.write("pool.jsonl", R"({"prompt":[{"role":"user","content":"a"}],"completion":" ","prompt_ids":[1,5],"answer_ids":[2]})"
                           "\n");
  const auto pooled = work.run({"rejection", "--model", "mute", "--reward", "reward", "--prompts", "prompts.jsonl", "--out", "p", "--pool",
                                "pool.jsonl", "--set", "samples=2", "--set", "sampling.max_new_tokens=4"});
  CHECK(pooled.says("pool.jsonl: kept 0, dropped 1 (over_long 0, empty_answer 1)"));
}
