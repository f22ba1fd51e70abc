// A large model's best answers teach a smaller one of another family: other tokenizer, other chat format.
#include "data/sentencepiece_training.h"
#include "pipelines/cli/keel_binary.h"

namespace keel::pipelines {
namespace {

using test::json_in;
using test::Outcome;
using test::rows_in;
using test::Workplace;
using Json = nlohmann::json;

constexpr int kStudentVocabulary = 300;

// Untrained, narrower and shallower than `model`, with a tokenizer of other pieces.
void write_student(const Workplace& work) {
  data::train_sentencepiece({"a cat sat on the mat", "no man is an island", "who knows what the weather will bring"}, kStudentVocabulary,
                            work / "student.model");
  work.write("corpus.jsonl", "{\"text\":\"a cat sat on the mat\"}\n{\"text\":\"no man is an island\"}\n");
  work.write("small.json", R"({
    "llama": {"hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
              "max_position_embeddings": 128},
    "pretrain": {"tokens": 64, "batch": {"batch_rows": 1, "row_tokens": 32}}})");
  const Outcome outcome =
      work.run({"pretrain", "--data", "corpus.jsonl", "--tokenizer", "student.model", "--config", "small.json", "--out", "small"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

std::string lines(const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows)
    text += row.dump() + "\n";
  return text;
}

}  // namespace

TEST_CASE("distillation: a smaller student of another tokenizer and chat format learns the kept answers, by their text in its own ids",
          "[pipelines]") {
  const Workplace work;
  write_student(work);
  work.write("prompts.jsonl",
             "{\"messages\":[{\"role\":\"user\",\"content\":\"who sells bread?\"}]}\n"
             "{\"prompt\":\"where is the boat?\"}\n{\"prompt\":\"how many boats are there?\"}\n");
  work.write("settings.json", R"({"samples": 3, "sampling": {"max_new_tokens": 6}, "selection": {"finished_only": false},
                                  "sft": {"steps": 1, "batch": {"batch_rows": 2, "row_tokens": 64}}})");
  const Outcome teacher = work.run(
      {"rejection", "--model", "model", "--reward", "reward", "--prompts", "prompts.jsonl", "--config", "settings.json", "--out", "best"});
  INFO(teacher.err);
  REQUIRE(teacher.code == 0);
  const auto kept = rows_in(work / "best/kept.jsonl.gz");
  REQUIRE(kept.size() == 3);

  // The same dialogues as the student reads them.
  std::vector<Json> dialogues, prompts;
  bool beyond = false;  // some of the teacher's ids do not exist in the student
  for (const Json& row : kept) {
    if (row["completion"].get<std::string>().find_first_not_of(" \n\t") == std::string::npos) continue;  // sft drops empty answers
    Json messages = row["prompt"];
    prompts.push_back({{"messages", messages}});
    messages.push_back({{"role", "assistant"}, {"content", row["completion"]}});
    dialogues.push_back({{"messages", messages}});
    for (const auto& ids : {row["prompt_ids"], row["answer_ids"]})
      for (const Json& id : ids)
        beyond = beyond || id.get<int>() >= kStudentVocabulary;
  }
  REQUIRE(!dialogues.empty());
  CHECK(beyond);
  work.write("dialogues.jsonl", lines(dialogues));
  work.write("asked.jsonl", lines(prompts));

  const auto outcomes =
      work.run_all({{"sft", "--model", "small", "--chat", "hh", "--data", "best/kept.jsonl.gz", "--out", "student", "--set", "steps=30",
                     "--set", "batch.batch_rows=8", "--set", "batch.row_tokens=128", "--set", "schedule.learning_rate=0.02"},
                    {"tokenize", "--tokenizer", "small", "--chat", "hh", "--in", "dialogues.jsonl"},
                    {"tokenize", "--tokenizer", "small", "--chat", "hh", "--in", "asked.jsonl"},
                    {"logprobs", "--model", "small", "--chat", "hh", "--in", "dialogues.jsonl"}});
  for (const Outcome& outcome : outcomes) {
    INFO(outcome.err);
    REQUIRE(outcome.code == 0);
  }
  // The targets of a step are the answers in its own ids, their end included, and nothing else.
  size_t targets = 0;
  const auto whole = outcomes[1].rows(), asked = outcomes[2].rows(), before = outcomes[3].rows();
  for (size_t i = 0; i < whole.size(); ++i) {
    targets += whole[i]["ids"].size() - asked[i]["ids"].size();
    CHECK(before[i]["logprobs"].size() == whole[i]["ids"].size() - asked[i]["ids"].size());
  }
  const auto steps = rows_in(work / "student/metrics.jsonl");
  REQUIRE(steps.size() == 30);
  double learnt = 0;  // the rows of a step hold whole epochs: as many targets as the answers have, or a multiple
  for (const Json& step : steps)
    learnt += step["tokens"].get<double>();
  CHECK(std::fmod(learnt, static_cast<double>(targets)) < 1e-9);

  // Nothing but the weights changes.
  CHECK(json_in(work, "student/config.json")["vocab_size"] == kStudentVocabulary);
  CHECK(json_in(work, "student/config.json")["num_hidden_layers"] == 1);
  CHECK(json_in(work, "student/keel.json")["chat_format"] == "hh");
  CHECK(work.read("student/tokenizer.model") == work.read("student.model"));
  const Outcome logprobs = work.run({"logprobs", "--model", "student", "--in", "dialogues.jsonl"});
  REQUIRE(logprobs.code == 0);
  const auto after = logprobs.rows();
  const auto mean = [](const std::vector<Json>& rows) {
    double sum = 0, count = 0;
    for (const Json& row : rows)
      for (const Json& value : row["logprobs"])
        sum += value.get<double>(), ++count;
    return sum / count;
  };
  CHECK(mean(after) > mean(before) + 1);
}

}  // namespace keel::pipelines
