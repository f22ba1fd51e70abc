// The commands on text and models: input, output and refusals (docs/commands.md).
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines::cli {
namespace {

using test::kTinyRecipe;
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
  const auto good = test::run_all(folder.path(), {{"--version"}, {"--help"}, {"sft", "--help"}});
  for (const auto& outcome : good)
    CHECK(outcome.code == 0);
  CHECK(good[0].out == "keel 0.1.0\n");
  for (const char* command :
       {"run", "status", "explain", "report", "tokenize", "generate", "logprobs", "score", "convert", "sft", "reward"})
    CHECK(good[1].out.find(std::string("\n  ") + command + " ") != std::string::npos);
  CHECK(good[2].out.find("schedule.learning_rate") != std::string::npos);

  const auto bad = test::run_all(folder.path(), {{"generate", "--model", "m", "--prompts", "p", "--bogus"},
                                                 {"generate", "--model", "nowhere", "--prompts", "p"},
                                                 {"generate", "--model", "m"}});
  for (const auto& outcome : bad) {
    CHECK(outcome.code == 2);
    CHECK(outcome.out.empty());
  }
  CHECK(bad[0].says("--bogus"));
  CHECK(bad[1].says("nowhere"));
  CHECK(bad[2].says("--prompts"));
}

TEST_CASE("keel tokenize: text and dialogues to ids and back, by the model's own chat format", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl", kDialogues);
  work.write("text.jsonl", "{\"text\":\"the boat\"}\n{\"text\":\"</s>[INST]\"}\n{\"text\":\"\"}\n");
  const auto outcomes =
      work.run_all({{"tokenize", "--tokenizer", "model", "--in", "in.jsonl"},
                    {"tokenize", "--tokenizer", "tokenizer.model", "--chat", "llama2", "--in", "in.jsonl", "--out", "ids.jsonl"},
                    {"tokenize", "--tokenizer", "model", "--no-bos", "--in", "text.jsonl"},
                    {"tokenize", "--tokenizer", "tokenizer.model", "--in", "in.jsonl"}});
  const Outcome& encoded = outcomes[0];
  REQUIRE(encoded.code == 0);
  const auto rows = encoded.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["ids"][0] == 1);
  CHECK(rows[1]["ids"][0] == 1);
  CHECK(starts_with(rows[2]["ids"], rows[1]["ids"]));
  CHECK(rows[2]["ids"].back() == 2);
  for (size_t i = 0; i < 2; ++i)
    CHECK(rows[i]["ids"].back() != 2);

  CHECK(outcomes[1].code == 0);
  CHECK(work.read("ids.jsonl") == encoded.out);
  const Outcome decoded = work.run({"tokenize", "--tokenizer", "tokenizer.model", "--decode", "--in", "ids.jsonl"});
  CHECK(decoded.code == 0);
  CHECK(decoded.out ==
        "{\"text\":\"the boat\"}\n{\"text\":\"[INST] who sells bread? [/INST]\"}\n{\"text\":\"[INST] who sells bread? [/INST] the baker. "
        "\"}\n");

  const auto bare = outcomes[2].rows();
  REQUIRE(bare.size() == 3);
  Row with_bos = Row::array({1});
  with_bos.insert(with_bos.end(), bare[0]["ids"].begin(), bare[0]["ids"].end());
  CHECK(with_bos == rows[0]["ids"]);
  for (const auto& id : bare[1]["ids"])
    CHECK(id.get<int>() > 3);  // text never becomes a special id
  CHECK(bare[2]["ids"].empty());

  CHECK(outcomes[3].code == 2);  // a tokenizer alone knows no chat format
}

TEST_CASE("keel tokenize: bad rows are named by file and line", "[pipelines]") {
  const Workplace work;
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"{\"text\":\"\xFF\xFE\"}", "UTF-8"},
      {"{\"text\":7}", "must be a string"},
      {"{\"text\":\"a\",\"ids\":[1]}", "exactly one"},
      {"{\"messages\":[{\"role\":\"user\",\"content\":\"x [/INST] y\"}]}", "[/INST]"}};
  std::vector<std::vector<std::string>> commands;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string name = "bad" + std::to_string(i) + ".jsonl";
    work.write(name, "{\"text\":\"fine\"}\n" + rows[i].first + "\n");
    commands.push_back({"tokenize", "--tokenizer", "model", "--in", name, "--out", "ids.jsonl"});
  }
  commands.push_back({"tokenize", "--tokenizer", "model", "--allow-tags", "--in", "bad3.jsonl"});
  const auto outcomes = work.run_all(commands);
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(outcomes[i].code == 3);
    CHECK(outcomes[i].says("bad" + std::to_string(i) + ".jsonl:2: "));
    CHECK(outcomes[i].says(rows[i].second));
  }
  CHECK_FALSE(work.has("ids.jsonl"));
  CHECK(outcomes.back().rows().size() == 2);
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
  work.write("sampling.json", "{\"max_new_tokens\": 3} // comments are fine\n");
  const auto command = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "24"});
    return more;
  };
  const auto outcomes =
      work.run_all({command({"--samples", "8", "--seed", "5"}), command({"--samples", "4", "--seed", "5", "--set", "batch_rows=3"}),
                    command({"--samples", "8", "--seed", "6", "--config", "sampling.json"}),
                    command({"--set", "topk=3", "--set", "batch_rows=0", "--temperature", "-1"})});
  for (size_t i = 0; i < 3; ++i)
    REQUIRE(outcomes[i].code == 0);
  const auto many = outcomes[0].rows(), few = outcomes[1].rows(), others = outcomes[2].rows();
  REQUIRE((many.size() == 16 && few.size() == 8 && others.size() == 16));
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
  CHECK(others[0]["ids"] != many[0]["ids"]);
  size_t longest = 0;
  for (const auto& row : others)
    longest = std::max(longest, row["ids"].size());
  CHECK(longest > 3);  // a setting's own option wins over --config

  CHECK(outcomes[3].code == 2);
  for (const char* text : {"did you mean \"top_k\"", "batch_rows must be at least 1", "temperature must be 0 or at least 0.01"})
    CHECK(outcomes[3].says(text));
}

TEST_CASE("keel logprobs: of ids, of the last answer of a dialogue, of a response to raw text", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl",
             "{\"ids\":[1,300,301,2]}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
             "{\"prompt\":\"the boat\",\"response\":\" is in the harbour\"}\n"
             "{\"ids\":[1]}\n");
  work.write("texts.jsonl",
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
             "{\"text\":\"the boat\"}\n{\"text\":\"the boat is in the harbour\"}\n");
  work.write("bad1.jsonl", "{\"ids\":[1,320]}");  // outside the vocabulary
  work.write("bad2.jsonl", "{\"prompt\":\"the boat\"}");
  const auto outcomes = work.run_all({{"logprobs", "--model", "model", "--in", "in.jsonl"},
                                      {"tokenize", "--tokenizer", "model", "--in", "texts.jsonl"},
                                      {"logprobs", "--model", "model", "--in", "bad1.jsonl"},
                                      {"logprobs", "--model", "model", "--in", "bad2.jsonl"},
                                      {"logprobs", "--model", "model", "--in", "in.jsonl", "--set", "top_p=0.5"}});
  REQUIRE(outcomes[0].code == 0);
  const auto rows = outcomes[0].rows(), ids = outcomes[1].rows();
  REQUIRE((rows.size() == 4 && ids.size() == 4));
  CHECK(rows[0]["logprobs"].size() == 3);
  CHECK(rows[3]["logprobs"].empty());
  for (const auto& row : rows)
    for (const auto& value : row["logprobs"])
      CHECK(value.get<double>() < 0);

  CHECK(rows[1]["logprobs"].size() == ids[1]["ids"].size() - ids[0]["ids"].size());
  CHECK(rows[2]["logprobs"].size() == ids[3]["ids"].size() - ids[2]["ids"].size());

  for (const size_t i : {2, 3}) {
    CHECK(outcomes[i].code == 3);
    CHECK(outcomes[i].out.empty());
    CHECK(outcomes[i].says("bad" + std::to_string(i - 1) + ".jsonl:1: "));
  }
  CHECK(outcomes[4].code == 2);  // a setting without effect
}

TEST_CASE("keel score and generate: a row that does not fit fails alone, limits and gate are the folder's unless overridden",
          "[pipelines]") {
  const Workplace work;
  std::string turns;  // far beyond what fits
  for (int i = 0; i < 60; ++i)
    turns += R"({"role":"user","content":"who sells bread?"},{"role":"assistant","content":"the baker."},)";
  const std::string last = R"({"role":"user","content":"where is the boat?"})", answer = R"(,{"role":"assistant","content":"no."})";
  work.write("in.jsonl", "{\"messages\":[" + last + answer + "]}\n{\"messages\":[" + turns + last + answer + "]}\n{\"messages\":[" + last +
                             answer + "]}\n");
  work.write("prompts.jsonl", "{\"messages\":[" + turns + last + "]}\n{\"messages\":[" + last + "]}\n");
  work.write("alone.jsonl", "{\"messages\":[" + last + "]}\n{\"messages\":[" + last + "]}\n");
  std::filesystem::create_directories(work / "set");
  std::filesystem::create_directory_symlink(work / "reward", work / "set/safety");
  const std::vector<std::string> both = {"score",     "--reward", "reward", "--reward", "set/safety",
                                         "--combine", "llama2",   "--in",   "in.jsonl"};
  const auto outcomes = work.run_all({{"score", "--reward", "reward", "--in", "in.jsonl"},
                                      {"score", "--reward", "reward", "--in", "in.jsonl", "--drop-oldest-turns"},
                                      {"score", "--reward", "reward", "--in", "in.jsonl", "--max-tokens", "3"},
                                      {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "3"},
                                      {"generate", "--model", "model", "--prompts", "alone.jsonl", "--max-new-tokens", "3"},
                                      both});
  for (const auto& outcome : outcomes) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  const auto rows = outcomes[0].rows(), shortened = outcomes[1].rows(), none = outcomes[2].rows();
  REQUIRE((rows.size() == 3 && shortened.size() == 3 && none.size() == 3));
  CHECK((rows[1].contains("error") && !rows[1].contains("score") && outcomes[0].says("in.jsonl:2: ")));
  CHECK((rows[0] == rows[2] && rows[0].contains("score")));
  CHECK(shortened[0]["score"].get<double>() == Catch::Approx(rows[0]["score"].get<double>()));
  CHECK(shortened[1].contains("score"));
  CHECK((none[0].contains("error") && none[2].contains("error")));
  const auto answers = outcomes[3].rows(), alone = outcomes[4].rows();
  REQUIRE((answers.size() == 2 && alone.size() == 2));
  CHECK((answers[0].contains("error") && answers[1]["index"] == 1));
  CHECK(answers[1]["ids"] == alone[1]["ids"]);  // keyed by its row in the file, not among those that fit
  CHECK((outcomes[5].says("below 0.15") && outcomes[5].says("combination.json is missing")));
  work.write("set/combination.json", R"({"gate_threshold": 0.4})");
  CHECK(work.run(both).says("below 0.4"));
  std::filesystem::create_directory_symlink(work / "set/safety", work / "link");
  for (const char* spelling : {"set/safety/", "set/safety/.", "./set//safety", "link"}) {
    std::vector<std::string> other = both;
    other[4] = spelling;
    INFO(spelling);
    CHECK(work.run(other).says("below 0.4"));
  }
  // Two models in the wrong order.
  std::filesystem::copy(work / "reward", work / "for_safety");
  Row kind = Row::parse(work.read("for_safety/keel.json"));
  kind["lineage"] = {{"kind", "safety"}};
  work.write("for_safety/keel.json", kind.dump());
  const auto wrong = work.run({"score", "--reward", "for_safety", "--reward", "reward", "--combine", "llama2", "--in", "in.jsonl"});
  CHECK((wrong.code == 2 && wrong.says("for_safety is a safety reward model")));
  std::vector<std::string> given = both;
  given.insert(given.end(), {"--gate-threshold", "0.7"});
  CHECK(work.run(given).says("below 0.7"));
  CHECK(work.run({"score", "--reward", "reward", "--in", "in.jsonl", "--gate-threshold", "0.7"}).code == 2);
  // A model's folder records the limits it was trained with.
  work.write("data.jsonl", "{\"messages\":[" + last + answer + "]}\n");
  REQUIRE(work.run({"sft", "--model", "model", "--data", "data.jsonl", "--out", "short", "--set", "steps=1", "--max-tokens", "40"}).code ==
          0);
  CHECK(Row::parse(work.read("short/keel.json"))["limit"]["max_tokens"] == 40);

  // `score` and `generate` keep to them, and leave room for the answer, as training did.
  for (const char* folder : {"reward", "model"}) {
    Row recorded = Row::parse(work.read(std::string(folder) + "/keel.json"));
    recorded["limit"] = {{"max_tokens", 60}, {"drop_oldest_turns", true}, {"allow_tags", false}};
    work.write(std::string(folder) + "/keel.json", recorded.dump());
  }
  const std::string turn = R"({"role":"user","content":"who sells bread?"},{"role":"assistant","content":"the baker."},)";
  std::string text;  // the dialogue as a text of turns
  for (int i = 0; i < 3; ++i)
    text += "\\n\\nHuman: who sells bread?\\n\\nAssistant: the baker.";
  work.write("in.jsonl", "{\"messages\":[" + turn + turn + turn + last + answer + "]}\n{\"prompt\":\"" + text +
                             "\\n\\nHuman: where is the boat?\\n\\nAssistant:\",\"response\":\"no.\"}\n");
  work.write("prompts.jsonl", "{\"messages\":[" + turn + last + "]}\n");
  const auto within =
      work.run_all({{"score", "--reward", "reward", "--in", "in.jsonl"},
                    {"score", "--reward", "reward", "--in", "in.jsonl", "--keep-turns"},
                    {"score", "--reward", "reward", "--in", "in.jsonl", "--keep-turns", "--max-tokens", "0"},
                    {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "3"},
                    {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "3", "--keep-turns"},
                    {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "40", "--keep-turns"},
                    {"generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "60"},
                    {"generate", "--model", "model", "--prompts", "prompts.jsonl"}});
  CHECK((within[0].rows()[0].contains("score") && within[0].rows()[0]["score"] == within[0].rows()[1]["score"]));
  CHECK((within[1].rows()[0].contains("error") && within[1].rows()[1].contains("error")));
  CHECK((within[2].rows()[0].contains("score") && within[2].rows()[0]["score"] != within[0].rows()[0]["score"]));
  CHECK_FALSE(within[3].rows()[0].contains("error"));
  CHECK_FALSE(within[4].rows()[0].contains("error"));
  CHECK(within[5].rows()[0].contains("error"));
  CHECK((within[6].code == 2 && within[6].says("60 tokens hold prompt and answer here") && within[6].says("lower it, --max-new-tokens N")));
  CHECK((within[7].code == 0 && within[7].says("answers have at most 30 tokens, half of the 60")));  // not the default of 256
}

TEST_CASE("keel run: a folder of another version of keel is refused by name", "[pipelines]") {
  const Workplace work;
  work.write("tiny.json", kTinyRecipe);
  std::filesystem::create_directories(work / "old/stages");
  work.write("old/run.json", R"({"recipe": "tiny", "keel": "0.1.0", "config": {}, "external": {}})");
  for (const auto& outcome : work.run_all({{"run", "tiny.json", "--out", "old"}, {"status", "old"}})) {
    INFO(outcome.err);
    CHECK(outcome.code == 2);
    CHECK(outcome.says("another version of keel"));
  }
}

TEST_CASE("keel score: raw scores and probabilities, of one model or of two combined", "[pipelines]") {
  const Workplace work;
  work.write("in.jsonl",
             "{\"prompt\":\"who sells bread?\",\"response\":\"the baker.\"}\n"
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"},{\"role\":\"assistant\",\"content\":\"the baker.\"}]}\n"
             "{\"ids\":[1,300,301,2]}\n");
  // The same model with the head negated: its score counts where it calls an answer unsafe, else the first model's.
  auto tensors = test::tiny_weights();
  tensors.push_back({"score.weight", {1, test::kTinyWidth}, {}});
  for (int i = 0; i < test::kTinyWidth; ++i)
    tensors.back().values.push_back(-10 * static_cast<float>(std::cos(i)));
  test::write_tiny_folder(work / "strict", tensors, {{"architectures", {"LlamaForSequenceClassification"}}}, work / "tokenizer.model");
  const auto outcomes = work.run_all({{"score", "--reward", "reward", "--in", "in.jsonl"},
                                      {"score", "--reward", "reward", "--reward", "strict", "--combine", "llama2", "--in", "in.jsonl"},
                                      {"score", "--reward", "reward", "--reward", "strict", "--in", "in.jsonl"},
                                      {"score", "--reward", "model", "--in", "in.jsonl"}});
  const Outcome& one = outcomes[0];
  REQUIRE(one.code == 0);
  const auto rows = one.rows();
  REQUIRE(rows.size() == 3);
  for (const auto& row : rows)
    CHECK(row["probability"].get<double>() == Catch::Approx(1 / (1 + std::exp(-row["score"].get<double>()))));
  CHECK(rows[0] == rows[1]);
  CHECK(rows[0] != rows[2]);

  const auto combined = outcomes[1].rows();
  REQUIRE(combined.size() == 3);
  for (size_t i = 0; i < rows.size(); ++i) {
    const double helpful = rows[i]["score"].get<double>(), safe = -10 * helpful;
    const double expected = 1 / (1 + std::exp(-safe)) < 0.15 ? safe : helpful;
    CHECK(combined[i]["score"].get<double>() == Catch::Approx(expected).epsilon(1e-4));
  }
  CHECK(outcomes[2].code == 2);
  CHECK(outcomes[3].code == 3);
  CHECK(outcomes[3].says("score.weight"));
}

TEST_CASE("keel convert: a llama2.c file becomes the same model, a refused one leaves nothing", "[pipelines]") {
  const Workplace work;
  const Outcome converted = work.run({"convert", "tiny.bin", "converted/", "--tokenizer", "tokenizer.model", "--chat", "llama2"});
  REQUIRE(converted.code == 0);
  work.write("in.jsonl", "{\"ids\":[1,300,301,2]}\n{\"prompt\":\"the boat\",\"response\":\" is in the harbour\"}\n");
  const auto logprobs =
      work.run_all({{"logprobs", "--model", "model", "--in", "in.jsonl"}, {"logprobs", "--model", "converted", "--in", "in.jsonl"}});
  CHECK(logprobs[0].rows().size() == 2);
  CHECK(logprobs[1].out == logprobs[0].out);
  const Row keel_json = Row::parse(work.read("converted/keel.json"));
  CHECK(keel_json["chat_format"] == "llama2");
  CHECK(keel_json["digest"] == core::sha256_file(work / "converted/model.safetensors"));

  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(work.path()))
      found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  };
  const std::string bytes = work.read("tiny.bin");
  work.write("cut.bin", bytes.substr(0, bytes.size() / 2));
  const auto before = names();
  const auto refused = work.run_all({{"convert", "tiny.bin", "converted", "--tokenizer", "tokenizer.model"},
                                     {"convert", "tiny.bin", "other1"},
                                     {"convert", "tiny.bin", "other2", "--tokenizer", "nowhere.model"},
                                     {"convert", "cut.bin", "other3", "--tokenizer", "tokenizer.model"}});
  for (size_t i = 0; i < refused.size(); ++i)
    CHECK(refused[i].code == (i < 3 ? 2 : 3));
  CHECK(refused[1].says("--tokenizer"));
  CHECK(refused[2].says("nowhere.model"));
  CHECK(refused[3].says("cut.bin"));
  CHECK(names() == before);
}

}  // namespace keel::pipelines::cli
