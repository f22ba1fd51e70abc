// The commands on text and models: what they accept, print and refuse (docs/formats.md).
#include "pipelines/keel_binary.h"

namespace keel::pipelines {
namespace {

using test::Outcome;
using test::Workplace;
using Row = nlohmann::json;

constexpr const char* kDialogues =
    "{\"text\":\"the boat\"}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n"
    "\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n";

bool starts_with(const Row& whole, const Row& part) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

}  // namespace

TEST_CASE("keel: help and version end well, a wrong command line is exit code 2", "[pipelines]") {
  const test::TemporaryFolder folder;
  const Outcome version = test::run_keel(folder.path(), {"--version"});
  CHECK(version.code == 0);
  CHECK(version.out == "keel 0.1.0\n");
  const Outcome help = test::run_keel(folder.path(), {"--help"});
  CHECK(help.code == 0);
  for (const char* command :
       {"run", "status", "explain", "report", "tokenize", "generate", "logprobs", "score", "convert", "sft", "reward"})
    CHECK(help.out.find(std::string("\n  ") + command + " ") != std::string::npos);
  const Outcome fields = test::run_keel(folder.path(), {"sft", "--help"});
  CHECK(fields.code == 0);
  CHECK(fields.out.find("schedule.learning_rate") != std::string::npos);

  CHECK(test::run_keel(folder.path(), {}).code == 2);
  CHECK(test::run_keel(folder.path(), {"generate", "--model", "m"}).code == 2);
  const Outcome unknown = test::run_keel(folder.path(), {"generate", "--model", "m", "--prompts", "p", "--bogus"});
  CHECK(unknown.code == 2);
  CHECK(unknown.says("--bogus"));
  const Outcome no_model = test::run_keel(folder.path(), {"generate", "--model", "nowhere", "--prompts", "p"});
  CHECK(no_model.code == 2);
  CHECK(no_model.says("nowhere"));
  CHECK(no_model.out.empty());
}

TEST_CASE("keel tokenize: text and dialogues to ids and back, by the model's own chat format", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl", kDialogues);
  const Outcome encoded = work.run({"tokenize", "--tokenizer", "model", "--in", "in.jsonl"});
  REQUIRE(encoded.code == 0);
  const auto rows = encoded.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["ids"][0] == 1);
  CHECK(rows[1]["ids"][0] == 1);
  CHECK(starts_with(rows[2]["ids"], rows[1]["ids"]));
  CHECK(rows[2]["ids"].back() == 2);
  for (size_t i = 0; i < 2; ++i)
    CHECK(rows[i]["ids"].back() != 2);

  CHECK(work.run({"tokenize", "--tokenizer", "tokenizer.model", "--chat", "llama2", "--in", "in.jsonl", "--out", "ids.jsonl"}).code == 0);
  CHECK(work.read("ids.jsonl") == encoded.out);
  const Outcome decoded = work.run({"tokenize", "--tokenizer", "tokenizer.model", "--decode", "--in", "ids.jsonl"});
  CHECK(decoded.code == 0);
  CHECK(decoded.out ==
        "{\"text\":\"the boat\"}\n{\"text\":\"[INST] who sells bread? [/INST]\"}\n{\"text\":\"[INST] who sells bread? [/INST] the baker. "
        "\"}\n");

  work.write("text.jsonl", "{\"text\":\"the boat\"}\n{\"text\":\"</s>[INST]\"}\n{\"text\":\"\"}\n");
  const auto bare = work.run({"tokenize", "--tokenizer", "model", "--no-bos", "--in", "text.jsonl"}).rows();
  REQUIRE(bare.size() == 3);
  Row with_bos = Row::array({1});
  with_bos.insert(with_bos.end(), bare[0]["ids"].begin(), bare[0]["ids"].end());
  CHECK(with_bos == rows[0]["ids"]);
  for (const auto& id : bare[1]["ids"])
    CHECK(id.get<int>() > 3);  // text never becomes a special id
  CHECK(bare[2]["ids"].empty());

  // A tokenizer alone knows no chat format.
  CHECK(work.run({"tokenize", "--tokenizer", "tokenizer.model", "--in", "in.jsonl"}).code == 2);
}

TEST_CASE("keel tokenize: bad rows are named by file and line", "[pipelines]") {
  const Workplace work;
  const auto refused = [&](const std::string& line) {
    work.write("bad.jsonl", "{\"text\":\"fine\"}\n" + line + "\n");
    const Outcome outcome = work.run({"tokenize", "--tokenizer", "model", "--in", "bad.jsonl", "--out", "ids.jsonl"});
    CHECK(outcome.code == 3);
    CHECK(outcome.says("bad.jsonl:2: "));
    CHECK_FALSE(work.has("ids.jsonl"));
    return outcome.err;
  };
  using Catch::Matchers::ContainsSubstring;
  CHECK_THAT(refused("{\"text\":\"\xFF\xFE\"}"), ContainsSubstring("UTF-8"));
  CHECK_THAT(refused("{\"text\":7}"), ContainsSubstring("string"));
  CHECK_THAT(refused("{\"text\":\"a\",\"ids\":[1]}"), ContainsSubstring("exactly one"));
  CHECK_THAT(refused("{\"messages\":[{\"role\":\"user\",\"content\":\"x [/INST] y\"}]}"), ContainsSubstring("[/INST]"));
  CHECK(work.run({"tokenize", "--tokenizer", "model", "--allow-tags", "--in", "bad.jsonl"}).rows().size() == 2);
}

TEST_CASE("keel generate: a row for each prompt and sample in order; greedy answers are equal", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl",
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n{\"prompt\":\"the boat\"}\n{\"ids\":[1,300,301]}\n");
  const Outcome greedy = work.run(
      {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--samples", "2", "--temperature", "0", "--max-new-tokens", "5"});
  REQUIRE(greedy.code == 0);
  const auto rows = greedy.rows();
  REQUIRE(rows.size() == 6);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    CHECK(row["index"] == i / 2);
    CHECK(row["sample"] == i % 2);
    CHECK(row["text"].is_string());
    CHECK(row["logprobs"].size() == row["ids"].size());
    const bool stopped = row["ids"].back() == 2;
    CHECK(row["finish_reason"] == (stopped ? "stop" : "length"));
    CHECK((stopped || row["ids"].size() == 5));
    CHECK(row.size() == 6);
    CHECK(row["ids"] == rows[i - i % 2]["ids"]);
  }

  // The log-probs are those that keel logprobs gives for the same ids.
  work.write("ids.jsonl", Row{{"ids",
                               [&] {
                                 Row ids = Row::array({1, 300, 301});
                                 ids.insert(ids.end(), rows[4]["ids"].begin(), rows[4]["ids"].end());
                                 return ids;
                               }()}}
                              .dump());
  const auto again = work.run({"logprobs", "--model", "model", "--in", "ids.jsonl"}).rows();
  REQUIRE(again.size() == 1);
  REQUIRE(again[0]["logprobs"].size() == 2 + rows[4]["ids"].size());
  for (size_t i = 0; i < rows[4]["ids"].size(); ++i)
    CHECK(again[0]["logprobs"][i + 2].get<double>() == Catch::Approx(rows[4]["logprobs"][i].get<double>()).margin(1e-5));
}

TEST_CASE("keel generate: draws depend on seed, prompt and sample alone; answers end by EOS or at the limit", "[pipelines]") {
  const Workplace work;
  work.write("prompts.jsonl", "{\"prompt\":\"the boat\"}\n{\"prompt\":\"the baker\"}\n");
  const auto ids_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "24"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = work.run(arguments);
    REQUIRE(outcome.code == 0);
    return outcome.rows();
  };
  const auto many = ids_of({"--samples", "8", "--seed", "5"}), few = ids_of({"--samples", "4", "--seed", "5", "--set", "batch_rows=3"});
  std::map<std::string, int> reasons;
  for (const auto& row : many) {
    ++reasons[row["finish_reason"].get<std::string>()];
    CHECK((row["finish_reason"] == "stop") == (row["ids"].back() == 2));
    CHECK((row["finish_reason"] == "stop" || row["ids"].size() == 24));
    CHECK(row["text"].get<std::string>().find("</s>") == std::string::npos);
  }
  CHECK(reasons["stop"] > 0);
  CHECK(reasons["length"] > 0);
  for (const auto& row : few)
    CHECK(row["ids"] == many[row["index"].get<size_t>() * 8 + row["sample"].get<size_t>()]["ids"]);
  CHECK(ids_of({"--samples", "8", "--seed", "6"})[0]["ids"] != many[0]["ids"]);

  // Fields: an option of its own wins, every problem is named.
  work.write("sampling.json", "{\"temperature\": 1.5, \"max_new_tokens\": 3} // comments are fine\n");
  size_t longest = 0;
  for (const auto& row : ids_of({"--config", "sampling.json", "--samples", "4"}))
    longest = std::max(longest, row["ids"].size());
  CHECK(longest > 3);
  const Outcome wrong = work.run(
      {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--set", "topk=3", "--set", "batch_rows=0", "--temperature", "-1"});
  CHECK(wrong.code == 2);
  for (const char* text : {"did you mean \"top_k\"", "batch_rows must be at least 1", "temperature must be at least 0"})
    CHECK(wrong.says(text));
}

TEST_CASE("keel logprobs: of ids, of the last answer of a dialogue, of a response to raw text", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl",
             "{\"ids\":[1,300,301,2]}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
             "{\"prompt\":\"the boat\",\"response\":\" is in the harbour\"}\n"
             "{\"ids\":[1]}\n");
  const Outcome outcome = work.run({"logprobs", "--model", "model", "--in", "in.jsonl"});
  REQUIRE(outcome.code == 0);
  const auto rows = outcome.rows();
  REQUIRE(rows.size() == 4);
  CHECK(rows[0]["logprobs"].size() == 3);
  CHECK(rows[3]["logprobs"].empty());
  for (const auto& row : rows)
    for (const auto& value : row["logprobs"])
      CHECK(value.get<double>() < 0);

  work.write("texts.jsonl",
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
             "{\"text\":\"the boat\"}\n{\"text\":\"the boat is in the harbour\"}\n");
  const auto ids = work.run({"tokenize", "--tokenizer", "model", "--in", "texts.jsonl"}).rows();
  REQUIRE(ids.size() == 4);
  CHECK(rows[1]["logprobs"].size() == ids[1]["ids"].size() - ids[0]["ids"].size());
  CHECK(rows[2]["logprobs"].size() == ids[3]["ids"].size() - ids[2]["ids"].size());

  const auto refused = [&](const std::string& line) {
    work.write("bad.jsonl", line);
    const Outcome bad = work.run({"logprobs", "--model", "model", "--in", "bad.jsonl"});
    CHECK(bad.code == 3);
    CHECK(bad.out.empty());
    return bad.says("bad.jsonl:1: ");
  };
  CHECK(refused("{\"ids\":[1,320]}"));    // outside the vocabulary
  CHECK(refused("{\"ids\":[1,\"2\"]}"));  // no id
  CHECK(refused("{\"prompt\":\"the boat\"}"));
  const Outcome setting = work.run({"logprobs", "--model", "model", "--in", "in.jsonl", "--set", "top_p=0.5"});
  CHECK(setting.code == 2);  // nothing reads it
}

TEST_CASE("keel score: raw scores and probabilities, of one model or of two combined", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl",
             "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
             "{\"ids\":[1,300,301,2]}\n");
  const Outcome one = work.run({"score", "--reward", "reward", "--in", "in.jsonl"});
  REQUIRE(one.code == 0);
  const auto rows = one.rows();
  REQUIRE(rows.size() == 3);
  for (const auto& row : rows)
    CHECK(row["probability"].get<double>() == Catch::Approx(1 / (1 + std::exp(-row["score"].get<double>()))));
  CHECK(rows[0] == rows[1]);
  CHECK(rows[0] != rows[2]);

  // A copy with the head turned round: where it is sure that an answer is unsafe its score counts, else the first model's.
  auto tensors = test::tiny_weights();
  tensors.push_back({"score.weight", {1, test::kTinyWidth}, {}});
  for (int i = 0; i < test::kTinyWidth; ++i)
    tensors.back().values.push_back(-10 * static_cast<float>(std::cos(i)));
  test::write_tiny_folder(work / "strict", tensors, {{"architectures", {"LlamaForSequenceClassification"}}}, work / "tokenizer.model");
  const auto combined = work.run({"score", "--reward", "reward", "--reward", "strict", "--combine", "llama2", "--in", "in.jsonl"}).rows();
  REQUIRE(combined.size() == 3);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double helpful = rows[i]["score"].get<double>(), safe = -10 * helpful;
    const double expected = 1 / (1 + std::exp(-safe)) < 0.15 ? safe : helpful;
    CHECK(combined[i]["score"].get<double>() == Catch::Approx(expected).epsilon(1e-4));
  }
  CHECK(work.run({"score", "--reward", "reward", "--reward", "strict", "--in", "in.jsonl"}).code == 2);
  const Outcome headless = work.run({"score", "--reward", "model", "--in", "in.jsonl"});
  CHECK(headless.code == 3);
  CHECK(headless.says("score.weight"));
}

TEST_CASE("keel convert: a llama2.c file becomes the same model, a refused one leaves nothing", "[pipelines]") {
  const Workplace work;
  const Outcome converted = work.run({"convert", "tiny.bin", "converted/", "--tokenizer", "tokenizer.model", "--chat", "llama2"});
  REQUIRE(converted.code == 0);
  work.write("in.jsonl", "{\"ids\":[1,300,301,2]}\n{\"prompt\":\"the boat\",\"response\":\" is in the harbour\"}\n");
  const Outcome expected = work.run({"logprobs", "--model", "model", "--in", "in.jsonl"});
  CHECK(expected.rows().size() == 2);
  CHECK(work.run({"logprobs", "--model", "converted", "--in", "in.jsonl"}).out == expected.out);
  const Row keel_json = Row::parse(work.read("converted/keel.json"));
  CHECK(keel_json["chat_format"] == "llama2");
  CHECK(keel_json["digest"] == core::sha256_file(work / "converted/model.safetensors"));

  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(work.path()))
      if (const auto name = entry.path().filename().string(); name != ".out" && name != ".err") found.push_back(name);
    std::sort(found.begin(), found.end());
    return found;
  };
  const std::string bytes = work.read("tiny.bin");
  work.write("cut.bin", bytes.substr(0, bytes.size() / 2));
  const auto before = names();
  CHECK(work.run({"convert", "tiny.bin", "converted", "--tokenizer", "tokenizer.model"}).code == 2);
  const Outcome cut = work.run({"convert", "cut.bin", "other", "--tokenizer", "tokenizer.model"});
  CHECK(cut.code == 3);
  CHECK(cut.says("cut.bin"));
  CHECK(work.run({"convert", "tiny.bin", "other"}).code == 2);                                  // no tokenizer
  CHECK(work.run({"convert", "tiny.bin", "other", "--tokenizer", "nowhere.model"}).code == 2);  // a missing one
  CHECK(work.run({"convert", "tiny.bin", "other", "--tokenizer", "cut.bin"}).code == 2);        // none at all
  CHECK(names() == before);
}

}  // namespace keel::pipelines
